"""
The commands. Arguments, logs, `trio.run`, exit statuses.

A command's module is imported when it is used, and what the command needs when it runs.

Exit status 0: success. 1: the machine or the database refused something, or something was found or lost. 2:
settings or arguments are missing or wrong, and nothing was started.

- `_main`: the group. `_run`, `_demo`, `_simulate`, `_schema`, `_reading`: commands. `_exit`: how they end.
"""

from collector.cli._main import main

__all__ = [
    "main",
]
