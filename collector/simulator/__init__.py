"""
The exchange, for tests and demonstrations: a server that a real client can't tell from Kalshi's.

This room is the recorder's independent witness. It imports nothing of the recorder but the error tree
and the clock, so that a mistake in the recorder's own reading of the protocol can't cancel itself out here.

- `books`, `tape`, `flow`, `faults`, `subscription`, `floor`, `exchange`, `access`: no sockets, no waiting.
- `playing`: when which frame goes out.
- `wire`, `session`, `rest`, `server`: sockets and tasks.
- `account`: what was really sent.
- `cli`: the command `simulate`.
"""
