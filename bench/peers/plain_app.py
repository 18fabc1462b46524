"""What the jobs in plain Faust share: an app with Faust's defaults, where Millstream's settings say."""

import asyncio

import faust
import uvloop
from yarl import URL

from millstream.kafka.local import bootstrap
from millstream.settings import settings

conf = settings()

# Not Faust's default, but Millstream has it: the loop should not make the difference.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

app = faust.App(
    conf.app_id or "plain",
    broker=[URL(f"kafka://{address}") for address in bootstrap(conf).split(",")],
    store="rocksdb://",
    datadir=str(conf.state_dir),
    topic_partitions=conf.partitions,
    web_host=conf.web_host,
    web_port=conf.web_port,
)
