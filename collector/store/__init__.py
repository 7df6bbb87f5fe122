"""
PostgreSQL on Trio: connections, batches and their ledger, raw blocks, spool, partitions, sessions.

Whoever opens a connection here gets one that may be cancelled at any await: afterwards it is idle, or it is
closed. Errors leave this room as `StoreUnavailable` (come again) or `StoreRejected` (a bug), never as
psycopg's own. The room knows rows, batches and transactions; what a frame means is told elsewhere.
"""
