"""What makes Faust fast and exact: micro-batches, outputs before state, state in a log.

It knows no Record, table or agent: a `Source` brings them in.
"""

from app.engine import codec

codec.install()
