"""
What the exchange says and what it means, without I/O.

Nothing here imports Trio, reads a clock, logs, or touches a network, a file or a database. Live recording,
reading back and the simulator's tests all use the same code.

- `units`: prices and sizes as integers.
- `messages`: what one frame says. `codec`: text to messages. `commands`: what we say.
- `sequence`: the counter of one subscription. `book`: one market's order book.
- `facts`: what a frame means for the recording. `tracker`: frames to facts, for one connection.
- `conversation`: what to say, and when. `thinning`: fewer rows that still fold to the true book.
"""
