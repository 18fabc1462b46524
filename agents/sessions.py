"""Sessions of users: what each did between two silences."""

from datetime import timedelta
from functools import partial

from app import topics
from app.engine.batch import Batches, Out
from app.service import app, keep
from models.activity import EnrichedActivity, SessionTotals, activity_session
from tables.once import OnceTable
from tables.sessions import Session, SessionTable

user_sessions = SessionTable(
    "sessions",
    gap=timedelta(minutes=30),
    value=SessionTotals(),
    grace=timedelta(minutes=5),
    keep=timedelta(days=7),
)
# After a crash some events come again.
taken = OnceTable("sessions-taken")
keep(topics.activity_enriched, user_sessions, taken)


@app.agent(topics.activity_enriched)
async def sessions(batches: Batches[EnrichedActivity]) -> None:
    """Put each event into its user's session, and tell the sessions that are over."""
    async for batch in batches:
        async with batch.commit() as out:
            users = user_sessions.open(out, closed=partial(send_session, out))
            for event in taken.open(out).first(batch):
                users.add(event.user_id, event, at=event.timestamp)


def send_session(out: Out, session: Session) -> None:
    """Tell the readers of `activity.sessions` what a session was."""
    record = activity_session(session.key, session.start, session.end, session.result)
    out.send(topics.activity_sessions, key=session.key, value=record)
