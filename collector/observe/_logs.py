"""
Structured logs: an event name and fields, never prose with values in it.

Set up once, by the door. Lines go to standard error: JSON for machines, colours on a terminal.
"""

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from collector.scrubbing import scrub


def set_up_logs(level: str, log_format: Literal["json", "console"] | None) -> None:
    """Make all later log lines follow these settings; without a format, the terminal decides."""
    if log_format is None:
        log_format = "console" if sys.stderr.isatty() else "json"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _scrub_fields,
            structlog.dev.ConsoleRenderer()
            if log_format == "console"
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _scrub_fields(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets in the texts of a line; a value of another type is shown by its own text."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = scrub(value)
        elif not isinstance(value, bool | int | float | None):
            event[name] = json.loads(scrub(json.dumps(value, default=str)))
    return event


def get_logger(name: str) -> Any:  # noqa: ANN401 - structlog's loggers have no useful type
    """A logger whose lines carry the name of the task or room that they come from."""
    return structlog.get_logger(source=name)
