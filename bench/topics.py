"""A run's own topics: `python -m bench.topics <module>` creates those that an app declares."""

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from bench.worker import ROOT, BenchError

COMMAND_SECONDS = 60


def environment(kafka: str, prefix: str, folder: Path) -> dict[str, str]:
    """Return a worker's environment, in which nothing is tuned, also not by who calls us."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MILLSTREAM_", "BENCH_"))
    }
    return inherited | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MILLSTREAM_TOPIC_PREFIX": prefix,
        "MILLSTREAM_APP_ID": f"{prefix}app",
        "MILLSTREAM_STATE_DIR": str(folder),
    }


@asynccontextmanager
async def topics(kafka: str, prefix: str, app: str, env: Mapping[str, str]) -> AsyncIterator[None]:
    """Create an app's topics, and delete whatever is behind the prefix afterwards.

    Raises:
        BenchError: they cannot be created.
    """
    try:
        await asyncio.to_thread(_create, app, env)
        yield
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            # Some put a name of their own before the prefix.
            await admin.delete_topics([name for name in await admin.list_topics() if prefix in name])
        finally:
            await admin.close()


def _create(app: str, env: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "bench.topics", app]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    if done.returncode:
        raise BenchError(f"the topics of {app} cannot be created: {done.stdout}{done.stderr}")


def main(module: str) -> None:
    """Create and check the topics.

    Raises:
        TopicError: one cannot be created.
    """
    asyncio.run(importlib.import_module(module).app.ensure_topics())


if __name__ == "__main__":
    main(sys.argv[1])
