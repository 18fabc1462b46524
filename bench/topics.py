"""`python -m bench.topics <module>`: create the topics that a module's Millrace app declares."""

import asyncio
import importlib
import sys


def main(module: str) -> None:
    """Create and check the topics.

    Raises:
        TopicError: one cannot be created.
    """
    asyncio.run(importlib.import_module(module).app.ensure_topics())


if __name__ == "__main__":
    main(sys.argv[1])
