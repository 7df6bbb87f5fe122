"""
What the service knows about itself: the state that health and statistics are read from, and the logs.

Everything here is plain data that lives in the one Trio thread; whoever writes a part of it is named there.
Nothing here waits, and nothing here decides.
"""
