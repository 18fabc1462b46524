"""The options of the Faust app: what makes Faust exact and quiet."""

import logging
import socket
from typing import Any

from yarl import URL

from millstream.kafka.local import KafkaUnavailable, bootstrap
from millstream.settings import Settings
from millstream.web.auth import MAX_BODY
from millstream.web.problems import problems

# A commit of all tables is one record batch; a fetch must be able to carry it.
COMMIT_BYTES = 8_000_000
# Of the topics of ordinary Faust agents, at once.
POLLED_RECORDS = 4000

# aiokafka logs each fetch of metadata; what matters of it, we say ourselves.
logging.getLogger("aiokafka").setLevel(logging.WARNING)


def faust_options(conf: Settings) -> dict[str, Any]:
    """Return the options that settings give a Faust app."""
    session_seconds = conf.session_timeout.total_seconds()
    return {
        "env": {},  # else a stray PROCESSING_GUARANTEE or APP_WEB_TABLES_ENABLED overrules what is here
        "broker": [URL(f"kafka://{address}") for address in _brokers(conf).split(",")],
        "datadir": str(conf.data_dir / "faust"),
        "topic_partitions": conf.partitions,
        "topic_replication_factor": conf.replication,
        "topic_disable_leader": True,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": 4 << 20,
        "broker_max_poll_records": POLLED_RECORDS,
        "broker_commit_interval": 1.0,
        # Workers are static members of the group, known by machine and name: a restart moves no partition.
        # One that does not come back is missed after the session time-out, and replaced at the next
        # heartbeat.
        "consumer_group_instance_id": f"{conf.app_id}-{socket.gethostname()}-{conf.worker}",
        "broker_session_timeout": session_seconds,
        "broker_heartbeat_interval": min(3.0, session_seconds / 10),
        "broker_rebalance_timeout": 30.0,
        "broker_request_timeout": 90.0 + session_seconds,  # Faust wants it to be longer
        "broker_max_poll_interval": 2_000_000.0,  # a worker without partitions never polls
        "producer_compression_type": "zstd",
        "producer_max_batch_size": COMMIT_BYTES,
        "producer_max_request_size": COMMIT_BYTES + 1_000_000,
        "producer_linger": 0,
        # With standby replicas Faust brings an assignor that asserts that no URL ever changes.
        "table_standby_replicas": 0,
        "stream_wait_empty": False,  # the engine drains by itself, for a bounded time
        "stream_recovery_delay": 0,
        "web_host": conf.web_host,
        "web_port": conf.web_port,
        "web_bind": conf.web_host,
        "web_router_enabled": False,
        "web_tables_enabled": False,
        "web_stats_enabled": False,
        "web_graph_enabled": False,
        "web_metrics_enabled": False,
        # The authentication is added later; see `millstream.web.server.Web`.
        "web_application_options": {"middlewares": [problems], "client_max_size": MAX_BODY},
    }


def _brokers(conf: Settings) -> str:
    """Return Kafka's addresses; where there is none yet, the worker says so when it starts."""
    try:
        return bootstrap(conf)
    except KafkaUnavailable:
        return "127.0.0.1:9092"
