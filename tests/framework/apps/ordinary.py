"""The visits with an ordinary, per-event Faust agent and a Faust table beside the batch agent."""

import faust

from tests.framework.apps.visits import app


class Word(faust.Record):
    word: str


words = app.topic(app.settings.topic("words"), value_type=Word)
counts = app.topic(app.settings.topic("counts"), key_type=str)
table = app.Table("words", default=int, partitions=4)


@app.agent(words)
async def count_words(stream: faust.Stream[Word]) -> None:
    async for word in stream.group_by(Word.word, name="by-word", partitions=4):
        table[word.word] += 1
        await counts.send(key=word.word, value=str(table[word.word]))


__all__ = ["app"]
