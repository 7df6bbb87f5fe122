"""
One connection's scope, from the handshake to its last row, and the supervisor that keeps connections up.

Tasks of a session: reader, book, conversation and liveness end with the connection; the writer goes on until
everything that was received is in the database. A session is cancelled by the supervisor's nursery only.
"""
