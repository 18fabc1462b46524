"""From fetched records to a confirmed commit: micro-batches, outputs before state, state in a log.

It knows no Record, table or agent of a service: a `Source` brings them in.
"""
