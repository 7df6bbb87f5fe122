"""
The error tree, and what handles each branch.

    CollectorError
      ConfigError            the command: one line for each problem, exit status 2, nothing was started
      StartError             the command: the machine refuses a port or a folder, exit status 1
      ProtocolError
        MalformedFrame       the tracker: the frame becomes a reject, the session continues
      FeedError
        FeedLost             the supervisor: a new session, with backoff; REST tasks: a later request
        FeedRefused          the supervisor: reported as refused, retried about once a minute
        MarketLimitExceeded  the supervisor: the markets are split over more connections
      StoreError
        StoreUnavailable     the writer, maintenance and others: retry until PostgreSQL is available
        StoreRejected        the writer, maintenance and others: retry, and report it as failed
          StoreUnsuitable    the start: a ConfigError; later as StoreRejected

Packages define further branches: `spool` (SpoolFull, SpoolFailed, DamagedRecord), `rawblocks` (DamagedBlock),
`recording` (NoBook, NotProven, NotRederivable) and `session` (BacklogFull, a FeedLost).

Exceptions of other libraries are translated where they arise, with the original as their cause. An exception
that is not in this tree is a bug and ends the process with its traceback. The next start recovers.

A nursery wraps the exceptions of its tasks in exception groups. An `except*` block only remembers what it
caught, and the code after the block raises. Before Python 3.11.4, an exception that is raised inside such a
block stays in a group. `translated_errors` follows this rule wherever errors are translated.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import NoReturn, TypeVar, cast

from typing_extensions import override

from collector.scrubbing import scrub

E = TypeVar("E", bound=BaseException)


class CollectorError(Exception):
    """The root of everything that this program expects to go wrong. Its text shows no secret."""

    @override
    def __str__(self) -> str:
        return scrub(super().__str__())


class ConfigError(CollectorError):
    """Settings are missing or wrong. `problems` has one line for each, and never a secret."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(CollectorError):
    """The machine refuses something that the service needs; the message says what to do."""


class ProtocolError(CollectorError):
    """The exchange sent something that breaks its own protocol."""


class MalformedFrame(ProtocolError):  # noqa: N818 - names the thing, as the protocol does
    """One text frame can't be understood; the message says why, in terms of the protocol."""


class FeedError(CollectorError):
    """A connection to the exchange could not be opened, or has ended."""


class FeedLost(FeedError):  # noqa: N818 - a state of the feed
    """
    The connection is lost: the network, a timeout, a close, or a violated protocol rule.

    REST requests raise it too. `retry_after_s` is the minimum delay in seconds before the next attempt.
    """

    def __init__(self, reason: str, *, close_code: int | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close_code = close_code
        self.retry_after_s = retry_after_s


class FeedRefused(FeedError):  # noqa: N818 - a state of the feed
    """The exchange rejected the handshake with an HTTP client error, for example for a wrong key or clock."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"refused with HTTP {status}: {reason}")
        self.status = status
        self.reason = reason


class MarketLimitExceeded(FeedError):  # noqa: N818 - the exchange's own words, error 26
    """One subscription may not hold this many markets (error 26)."""


class StoreError(CollectorError):
    """PostgreSQL did not do what it was asked."""


class StoreUnavailable(StoreError):  # noqa: N818 - a state of the store
    """
    PostgreSQL can't be reached, closed the connection, or reported a temporary error.

    The caller repeats the same write later.
    """


class StoreChanged(StoreUnavailable):
    """
    The database is not in the state that it was in: the numbers that it gave are those of something else.

    The caller requests the numbers again before it repeats the write.
    """


class StoreRejected(StoreError):  # noqa: N818 - a verdict of the store
    """
    PostgreSQL refused a statement or a row, and will refuse it again unless somebody mends something.

    No received frame is lost by it: what is refused stays in the spool, health turns `failed` with the
    reason, and the write is repeated.
    """


class StoreUnsuitable(StoreRejected):
    """
    The database is not one to record into, and only other settings, or another version of this program, help.

    It is behind a transaction pooler, or has tables of another program, or is for newer versions only. At
    start it becomes a ConfigError.
    """


class LedgerConflict(StoreRejected):
    """The ledger has a batch of this session and number with another content. Nothing was written."""


def leaves_of(error: BaseException) -> list[BaseException]:
    """The errors that a group, nested however deep, holds, in order; an error alone is its own only leaf."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    members = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return [leaf for member in members for leaf in leaves_of(member)]


def worst_of(errors: Iterable[E]) -> E:
    """The error that tells most: the first one that is more than the end of a connection, else the first."""
    ordered = list(errors)
    return next((error for error in ordered if not isinstance(error, FeedLost)), ordered[0])


@contextmanager
def translated_errors(translate: Callable[[BaseException], CollectorError | None]) -> Generator[None]:
    """
    Raise the errors of the block as one error of this program that no exception group wraps.

    `translate` returns the error that an exception stands for (itself, where it is ours already), and None
    for what is not translated here. That takes precedence: a bug or a cancellation is raised, grouped as it
    was, without the translated errors beside it. The original is the cause.
    """
    try:
        yield
    except (Exception, BaseExceptionGroup) as original:
        leaves = leaves_of(original)
        found = [error for leaf in leaves if (error := translate(leaf)) is not None]
        if len(found) < len(leaves):
            _raise_others(original, translate)
        error = worst_of(found)
        if error not in leaves:
            raise error from original
        # It is in the group already, which must not become its context: that would be a cycle.
        context = error.__context__
        try:
            raise error
        finally:
            error.__context__ = context


def _raise_others(
    original: BaseException, translate: Callable[[BaseException], CollectorError | None]
) -> NoReturn:
    """Raise what is left of an exception without the translated errors in it."""
    if isinstance(original, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", original)
        _, others = group.split(lambda error: translate(error) is not None)
        assert others is not None
        raise others
    raise original
