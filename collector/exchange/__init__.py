"""
The shell round the protocol: signing, the WebSocket connection, REST.

Foreign exceptions of sockets, TLS and HTTP become FeedLost and FeedRefused here and nowhere else.
"""
