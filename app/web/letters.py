"""A look at dead letters, as they are on their topics."""

import asyncio
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from faust.web import Request, Response, Web

from app.admin import TopicError
from app.engine.out import ORIGIN
from app.reading import record_at, records
from app.service import app
from app.web.answers import Letters, WholeLetter
from app.web.openapi import Operation, told
from app.web.parameters import Parameter, choice, given, known, whole
from app.web.problems import ProblemError

# Of each topic and partition.
MOST, USUAL = 50, 20
LIMIT = whole("limit", "At most so many.", most=MOST, default=USUAL)
PARTITION = whole("partition", "Its partition.", least=0, most=(1 << 31) - 1, status=404)
OFFSET = whole("offset", "Its offset.", least=0, most=(1 << 63) - 1, status=404)
# Of a value: what a person looks at.
TEXT_BYTES = 65_536
HEX_BYTES = 4_096
READ_SECONDS = 10.0
RETRY = {"Retry-After": "5"}

# A look costs a consumer of its own: one at a time.
_reading = asyncio.Lock()


def summary(record: ConsumerRecord) -> dict[str, Any]:
    """Return what a dead letter says of itself, as JSON."""
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


def whole_letter(record: ConsumerRecord) -> dict[str, Any]:
    """Return a dead letter with its headers and bytes, as JSON; large values are cut."""
    return {
        **summary(record),
        "headers": [
            {"name": name, "value": value.decode(errors="backslashreplace")} for name, value in record.headers
        ],
        "key": raw(record.key),
        "value": raw(record.value),
    }


def raw(data: bytes | None) -> dict[str, Any] | None:
    """Return bytes as text, None if they are none, and in hexadecimal digits; cut where they are many."""
    if data is None:
        return None
    text: str | None
    try:
        text = data[:TEXT_BYTES].decode()
    except UnicodeDecodeError as exc:
        # The cut may have gone through a character.
        text = data[: exc.start].decode() if len(data) > TEXT_BYTES and exc.start > TEXT_BYTES - 4 else None
    return {"bytes": len(data), "text": text, "hex": data[:HEX_BYTES].hex()}


async def newest(bootstrap: str, topics: list[str], limit: int) -> list[dict[str, Any]]:
    """Return the newest records of dead-letter topics, the newest first.

    Args:
        bootstrap: addresses of Kafka.
        topics: the topics.
        limit: how many at most.

    Raises:
        TopicError: there is no such topic, or no Kafka.
    """
    found = [summary(record) for topic in topics async for record in records(bootstrap, topic, last=limit)]
    found.sort(key=lambda one: (one["time"], one["topic"], one["partition"], one["offset"]), reverse=True)
    return found[:limit]


def _topic() -> Parameter:
    topics = {source.dead_letters for source in app.engine.sources.values()}
    return choice("topic", "A topic of dead letters.", sorted(topics))


async def _read(reading: Any) -> Any:
    try:
        async with asyncio.timeout(READ_SECONDS), _reading:
            return await reading
    except TimeoutError:
        raise ProblemError(503, f"Kafka did not answer within {READ_SECONDS:.0f} s.", RETRY) from None
    except (TopicError, KafkaError) as exc:
        raise ProblemError(503, f"Kafka cannot be read: {exc}.", RETRY) from None
    finally:
        reading.close()


@told(lambda: [Operation("dead letters", Letters, query=[_topic(), LIMIT], unknown=True)])
@app.page("/dead-letters")
async def list_letters(web: Web, request: Request) -> Response:
    """List the newest dead letters: of all topics, or of `topic`; `limit` of them."""
    of = _topic()
    known(request.query, [of, LIMIT])
    found = given(request.query, topic=of, limit=LIMIT)
    topics = [found["topic"]] if "topic" in found else of.schema["enum"]
    return web.json({"dead_letters": await _read(newest(app.kafka, topics, found.get("limit", USUAL)))})


@told(lambda: [Operation("dead letters", WholeLetter, parts=[_topic(), PARTITION, OFFSET], unknown=True)])
@app.page("/dead-letters/{topic}/{partition}/{offset}")
async def show_letter(web: Web, request: Request, topic: str, partition: str, offset: str) -> Response:  # noqa: ARG001 (Faust's signature)
    """Show a dead letter with its headers and bytes."""
    place = _topic().read(topic), PARTITION.read(partition), OFFSET.read(offset)
    record = await _read(record_at(app.kafka, *place))
    if record is None:
        raise ProblemError(
            404, f"There is no dead letter {topic}/{partition}/{offset}; /dead-letters lists the newest."
        )
    return web.json(whole_letter(record))
