"""
Reading a recording back: proving it from the database alone, rebuilding books, making rows anew.

`derive` says what rows the raw frames must have led to. `verify` compares that with what is there, `books`
rebuilds a book; both only read. `rederive` puts derived rows in place. Nothing here talks to the exchange.
"""
