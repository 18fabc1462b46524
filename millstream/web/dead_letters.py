"""Views of dead letters, read from their topics."""

import asyncio
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from faust.web import Request, Response, Web

from millstream.kafka.headers import ORIGIN
from millstream.kafka.reading import record_at, records
from millstream.kafka.topics import TopicError
from millstream.web.openapi import Operation
from millstream.web.parameters import Parameter, choice, given, known, whole
from millstream.web.problems import ProblemError
from millstream.web.responses import DeadLetters, WholeDeadLetter
from millstream.web.service import Service

# Limits for each topic and partition.
MOST, USUAL = 50, 20
LIMIT = whole("limit", "Maximum number of dead letters.", most=MOST, default=USUAL)
PARTITION = whole("partition", "Partition of the dead letter.", least=0, most=(1 << 31) - 1, status=404)
OFFSET = whole("offset", "Offset of the dead letter.", least=0, most=(1 << 63) - 1, status=404)
# Limits of a value: as much as a person reads.
TEXT_BYTES = 65_536
HEX_BYTES = 4_096
READ_SECONDS = 10.0
RETRY = {"Retry-After": "5"}


def summary(record: ConsumerRecord) -> dict[str, Any]:
    """Return the facts about a dead letter, without its bytes, as JSON."""
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": record.timestamp / 1000,
        "origin": headers.get(ORIGIN),
        "code": headers.get("code"),
        "reason": headers.get("reason"),
        "bytes": len(record.value or b""),
    }


def whole_dead_letter(record: ConsumerRecord) -> dict[str, Any]:
    """Return a dead letter with its headers and bytes, as JSON; large values are truncated."""
    return {
        **summary(record),
        "headers": [
            {"name": name, "value": value.decode(errors="backslashreplace")} for name, value in record.headers
        ],
        "key": raw(record.key),
        "value": raw(record.value),
    }


def raw(data: bytes | None) -> dict[str, Any] | None:
    """Return bytes as text (None if they are not UTF-8) and in hexadecimal digits, both truncated."""
    if data is None:
        return None
    text: str | None
    try:
        text = data[:TEXT_BYTES].decode()
    except UnicodeDecodeError as exc:
        # The truncation may have split a character.
        text = data[: exc.start].decode() if len(data) > TEXT_BYTES and exc.start > TEXT_BYTES - 4 else None
    return {"bytes": len(data), "text": text, "hex": data[:HEX_BYTES].hex()}


async def newest(bootstrap: str, topics: list[str], limit: int) -> list[dict[str, Any]]:
    """Return the newest records of dead-letter topics, newest first.

    Args:
        bootstrap: addresses of Kafka.
        topics: the topics.
        limit: maximum number of records.

    Raises:
        TopicError: a topic does not exist, or Kafka does not answer.
    """
    found = [summary(record) for topic in topics async for record in records(bootstrap, topic, last=limit)]
    found.sort(key=lambda one: (one["time"], one["topic"], one["partition"], one["offset"]), reverse=True)
    return found[:limit]


async def _read(reading: Any, lock: asyncio.Lock) -> Any:
    try:
        async with asyncio.timeout(READ_SECONDS), lock:
            return await reading
    except TimeoutError:
        raise ProblemError(503, f"Kafka did not answer within {READ_SECONDS:.0f} s.", RETRY) from None
    except (TopicError, KafkaError) as exc:
        raise ProblemError(503, f"Kafka cannot be read: {exc}.", RETRY) from None
    finally:
        reading.close()


def install(app: Service) -> None:
    """Serve the views of dead letters."""
    # Each read needs a consumer of its own: one read at a time.
    lock = asyncio.Lock()

    def topic_parameter() -> Parameter:
        topics = {source.dead_letters for source in app.engine.sources.values()}
        return choice("topic", "A dead-letter topic.", sorted(topics))

    @app.operations.describe(
        lambda: [Operation("dead letters", DeadLetters, query=[topic_parameter(), LIMIT], unknown=True)]
    )
    @app.page("/dead-letters")
    async def list_dead_letters(web: Web, request: Request) -> Response:
        """List the newest dead letters of all topics, or of `topic`; at most `limit`."""
        of = topic_parameter()
        known(request.query, [of, LIMIT])
        found = given(request.query, topic=of, limit=LIMIT)
        topics = [found["topic"]] if "topic" in found else of.schema["enum"]
        return web.json(
            {"dead_letters": await _read(newest(app.kafka, topics, found.get("limit", USUAL)), lock)}
        )

    @app.operations.describe(
        lambda: [
            Operation(
                "dead letters", WholeDeadLetter, parts=[topic_parameter(), PARTITION, OFFSET], unknown=True
            )
        ]
    )
    @app.page("/dead-letters/{topic}/{partition}/{offset}")
    async def show_dead_letter(
        web: Web,
        request: Request,  # noqa: ARG001 (Faust's signature)
        topic: str,
        partition: str,
        offset: str,
    ) -> Response:
        """Return a dead letter with its headers and bytes."""
        place = topic_parameter().read(topic), PARTITION.read(partition), OFFSET.read(offset)
        record = await _read(record_at(app.kafka, *place), lock)
        if record is None:
            raise ProblemError(
                404, f"There is no dead letter {topic}/{partition}/{offset}; /dead-letters lists the newest."
            )
        return web.json(whole_dead_letter(record))
