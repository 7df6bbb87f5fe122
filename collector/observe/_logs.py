"""
Structured logs: an event name and fields, never prose with values in it.

Set up once, by the door. Lines go to standard error: JSON for machines, colours on a terminal.
"""

import logging
import sys
from typing import Any, Literal

import structlog


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
            structlog.dev.ConsoleRenderer()
            if log_format == "console"
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Any:  # noqa: ANN401 - structlog's loggers have no useful type
    """A logger whose lines carry the name of the task or room that they come from."""
    return structlog.get_logger(source=name)
