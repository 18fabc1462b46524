"""Sending from a command: until it is done, or until Ctrl-C."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable

import click

from millstream.sources.record import Record
from millstream.sources.send import Due, Sent, send

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    records: Iterable[Record],
    *,
    bootstrap: str,
    topic: str,
    due: Due | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Sent:
    """Send records; Ctrl-C or SIGTERM stops after all sent records are confirmed, a second one at once.

    See `send` for the arguments and errors.
    """
    # The user gets one error instead of aiokafka's log messages.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    before = {number: signal.getsignal(number) for number in SIGNALS}

    async def main() -> Sent:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupted() -> None:
            stop.set()
            for number in SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)
            click.echo(
                "\nstopping: waiting for confirmations of sent records; Ctrl-C again ends at once", err=True
            )

        for number in SIGNALS:
            loop.add_signal_handler(number, interrupted)
        return await send(
            records, bootstrap=bootstrap, topic=topic, due=due, on_progress=on_progress, stop=stop
        )

    try:
        return asyncio.run(main())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
