"""
Faults on request: what they are, how they are written, and when each one strikes.

Pure: the random source is passed in, and the sessions ask. A `Faults` may be changed while the simulator
runs; each question is answered with the faults of that moment.

How they are written (`N` counts data frames of a subscription from 1, `P` is a probability):

    drop@N duplicate@N reorder@N garble@N cut@N silent@N            at the N-th data frame of a subscription
    skew@N repeat-clock@N rename-type@N rename-field@N other-sid@N  the same: that frame is altered
    drop=P ...                   any of these but silent, at any data frame, with that probability
    restart-seq@N                after frame N the numbers of the subscription start again from 1
    lower-clock@N                after frame N the exchange's clocks start again from a lower value
    unknown-error=CODE@N         after frame N comes a numbered error with a code that is not the exchange's
    drop@NxK ...                 any fault with @N, K times in all and then no more
    mute=CHANNEL@N       that subscription is silent from its N-th frame on, answers included; pings go on
    cut-every=SECONDS    every connection is cut that often
    refuse=STATUS        the handshake is refused with that HTTP status; refuse=STATUSxK the first K times
    error=CODE@N         10, 25: ends the subscription after its N-th frame; 18, 26, 27: answers command N
    market-limit=K       a subscription to more than K markets is answered with error 26
    command-rate=R       more than R commands within a second are answered with error 27
    empty-at-close       an empty snapshot when a market is at its end

A frame is altered in one respect, and is sound in all others. A frame without such a part passes unchanged.

    skew            a change of a level says one contract more than it should
    repeat-clock    a delta carries the clock of its market's newest snapshot in the subscription
    rename-type     the type is one that the exchange does not have
    rename-field    the fields of the quantities have names that the exchange does not have
    other-sid       the sid is the next one, which belongs to another subscription or to none

`skew`, `repeat-clock` and `lower-clock` strike the books only. `lower-clock` concerns all connections, as
maintenance does: the clocks that the simulator gives to later changes are lower, the same on each connection.
"""

import random
import re
import typing

import attrs

from collector.errors import ConfigError
from collector.simulator._subscription import BOOK_CHANNEL, ERROR_TEXTS

Act = typing.Literal[
    "drop",
    "duplicate",
    "reorder",
    "garble",
    "skew",
    "repeat-clock",
    "rename-type",
    "rename-field",
    "other-sid",
    "cut",
    "restart-seq",
    "lower-clock",
    "silent",
    "mute",
    "error",
    "unknown-error",
]
# What strikes at data frames; `error` does only with some codes.
FRAME_FAULTS = frozenset(typing.get_args(Act)) - {"error"}
BOOK_FAULTS = frozenset({"skew", "repeat-clock", "lower-clock"})
TERMINAL_CODES = frozenset({10, 25})
ANSWER_CODES = frozenset({18, 26, 27})

_ANY_FRAME = "drop|duplicate|reorder|garble|skew|repeat-clock|rename-type|rename-field|other-sid|cut"
_AT = re.compile(
    rf"(?P<kind>{_ANY_FRAME}|restart-seq|lower-clock|silent)@(?P<at>[1-9]\d*)(?:x(?P<times>[1-9]\d*))?"
)
_SHARE = re.compile(rf"(?P<kind>{_ANY_FRAME})=(?P<share>[01](?:\.\d+)?|\.\d+)")
_MUTE = re.compile(r"(?P<kind>mute)=(?P<channel>[a-z0-9_]+)@(?P<at>[1-9]\d*)(?:x(?P<times>[1-9]\d*))?")
_EVERY = re.compile(r"(?P<kind>cut-every)=(?P<seconds>\d+(?:\.\d+)?)")
_REFUSE = re.compile(r"(?P<kind>refuse)=(?P<number>[345]\d\d)(?:x(?P<times>[1-9]\d*))?")
_ERROR = re.compile(r"(?P<kind>error)=(?P<number>10|18|25|26|27)@(?P<at>[1-9]\d*)(?:x(?P<times>[1-9]\d*))?")
_UNKNOWN_ERROR = re.compile(
    r"(?P<kind>unknown-error)=(?P<number>\d+)@(?P<at>[1-9]\d*)(?:x(?P<times>[1-9]\d*))?"
)
_LIMIT = re.compile(r"(?P<kind>market-limit|command-rate)=(?P<number>[1-9]\d*)")
_PLAIN = re.compile(r"(?P<kind>empty-at-close)")
_FORMS = (_AT, _SHARE, _MUTE, _EVERY, _REFUSE, _ERROR, _UNKNOWN_ERROR, _LIMIT, _PLAIN)


@attrs.define(eq=False)
class Fault:
    """One fault. `times` is how often it may still strike; None is always."""

    kind: str
    at: int | None = None
    share: float | None = None
    channel: str | None = None
    seconds: float | None = None
    number: int | None = None
    times: int | None = None

    @property
    def spent(self) -> bool:
        """Has it struck as often as it was asked to?"""
        return self.times == 0

    def strike(self) -> None:
        """Count one stroke."""
        if self.times is not None:
            self.times -= 1


def parse_fault(text: str) -> Fault:
    """
    Read one fault from its text.

    Raises:
        ConfigError: it is none of the forms above, or its numbers make no sense.
    """
    for form in _FORMS:
        match = form.fullmatch(text.strip())
        if match is not None:
            return _build(match.groupdict(), text)
    raise ConfigError(
        (
            f"--fault {text!r} is not understood; write for example drop@100, drop=0.01, cut-every=30, "
            "silent@500, mute=trade@20, refuse=401x2, error=25@100, unknown-error=99@100, market-limit=50 or "
            "empty-at-close",
        )
    )


def _build(parts: dict[str, str | None], text: str) -> Fault:
    share = parts.get("share")
    seconds = parts.get("seconds")
    fault = Fault(
        kind=parts["kind"] or "",
        at=_whole(parts.get("at")),
        share=float(share) if share else None,
        channel=BOOK_CHANNEL if parts["kind"] in BOOK_FAULTS else parts.get("channel"),
        seconds=float(seconds) if seconds else None,
        number=_whole(parts.get("number")),
        times=_whole(parts.get("times")),
    )
    if fault.share is not None and fault.share > 1:
        raise ConfigError((f"--fault {text!r}: a probability lies between 0 and 1",))
    if fault.seconds is not None and fault.seconds <= 0:
        raise ConfigError((f"--fault {text!r}: the seconds must be more than 0",))
    if fault.kind == "unknown-error" and fault.number in ERROR_TEXTS:
        raise ConfigError((f"--fault {text!r}: the exchange has an error of that code; write another code",))
    return fault


def _whole(text: str | None) -> int | None:
    return int(text) if text else None


@attrs.frozen
class Stroke:
    """What happens to one data frame, beside its being sent; `code` goes with `error` and `unknown-error`."""

    act: Act
    code: int = 0


class Faults:
    """The faults in force. Sessions ask at each frame, command and handshake."""

    def __init__(self, faults: typing.Iterable[Fault | str], rng: random.Random) -> None:
        self._rng = rng
        self._faults: list[Fault] = []
        self.any_on_frames = False
        self.replace(*faults)

    @property
    def in_force(self) -> tuple[Fault, ...]:
        """The faults that may still strike."""
        return tuple(fault for fault in self._faults if not fault.spent)

    def add(self, *faults: Fault | str) -> None:
        """Put more faults in force, from now on."""
        self._faults += [parse_fault(fault) if isinstance(fault, str) else fault for fault in faults]
        self.any_on_frames = any(self._is_on_frames(fault) for fault in self._faults)

    def replace(self, *faults: Fault | str) -> None:
        """Put these faults in force instead of all others."""
        self._faults.clear()
        self.add(*faults)

    def clear(self) -> None:
        """Behave well from now on."""
        self.replace()

    @staticmethod
    def _is_on_frames(fault: Fault) -> bool:
        if fault.kind == "error":
            return fault.number in TERMINAL_CODES
        return fault.kind in FRAME_FAULTS

    def strokes(self, channel: str, count: int) -> list[Stroke]:
        """Return what strikes the `count`-th data frame of a subscription to `channel`."""
        struck: list[Stroke] = []
        for fault in self._faults:
            if fault.spent or not self._is_on_frames(fault) or fault.channel not in (None, channel):
                continue
            # A subscription that is past its mark when the fault comes is not struck.
            if count == fault.at or (fault.share is not None and self._rng.random() < fault.share):
                fault.strike()
                struck.append(Stroke(typing.cast("Act", fault.kind), fault.number or 0))
        return struck

    def command_error(self, count: int, recent: int) -> int | None:
        """Return the code that answers the `count`-th command, with `recent` of them in the last second."""
        for fault in self._faults:
            if fault.spent:
                continue
            if fault.kind == "command-rate" and recent > (fault.number or 0):
                return 27
            if fault.kind == "error" and fault.number in ANSWER_CODES and fault.at == count:
                fault.strike()
                return fault.number
        return None

    def market_limit(self) -> int | None:
        """Return how many markets one subscription may hold."""
        limits = [fault.number for fault in self._faults if fault.kind == "market-limit" and fault.number]
        return min(limits, default=None)

    def refusal(self) -> int | None:
        """Return the HTTP status that this handshake is refused with."""
        for fault in self._faults:
            if fault.kind == "refuse" and not fault.spent:
                fault.strike()
                return fault.number
        return None

    def cut_every_s(self) -> float | None:
        """Return after how many seconds each connection is cut."""
        periods = [fault.seconds for fault in self._faults if fault.kind == "cut-every" and fault.seconds]
        return min(periods, default=None)

    def empty_at_close(self) -> bool:
        """Is a market's end followed by an empty snapshot?"""
        return any(fault.kind == "empty-at-close" for fault in self._faults)

    def garble(self, frame: bytes) -> bytes:
        """Spoil the text of a frame: valid UTF-8 but not JSON, cut short or with a colon flipped."""
        if self._rng.random() < 0.5:
            half = frame[: len(frame) // 2].decode("utf-8", "ignore")
            return half.encode()
        return frame.replace(b":", b";", 1)
