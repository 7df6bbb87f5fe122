"""
Reading a recording back: proving it from the database alone.

`derive` says what rows the raw frames must have led to. `verify` compares that with what is there. Nothing
here writes to the database or talks to the exchange.
"""
