"""
Records Kalshi order books into PostgreSQL, and proves what it holds.

Packages from the bottom up; each imports only from those above it here. A package's interface is what its
`__init__` exports.

- `protocol`: what the exchange says and what we say to it.
- `facts`: what received frames mean: facts, books, sequence numbers.
- `subscriptions`: which commands are due on a connection.
- `rawblocks`: frames, compressed and hashed.
- `storage`: batches, and one description of each kind of row.
- `observe`: counts, statistics, logs. `live`: the live stream for browsers.
- `exchange`: the WebSocket connection, signatures. `rest`: the REST API.
- `postgres`: psycopg on Trio. `database`: all SQL. `spool`: batches on disk while PostgreSQL is unavailable.
- `session`: one connection's scope, and the supervisor that keeps connections up.
- `markets`: which markets to record. `maintenance`: schema, partitions, retention.
- `recording`: reading recordings back, and proving them.
- `web`: health, status, the live stream and the dashboard.
- `simulator`: the exchange, for tests and demonstrations.
- `cli`: the commands.

Modules beside them: `errors` (the tree of errors), `clock`, `retry` and `wakeup` (one habit each), `config`
(the environment), `app` (the nursery tree of the service), `demo`.
"""

__version__ = "1.0.0"
