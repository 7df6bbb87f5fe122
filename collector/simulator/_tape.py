"""
Recorded tapes: what a file holds, and which of it is played.

A tape is gzipped NDJSON, one line for each text frame in the order received. Played frames keep the bytes
of their `msg` member as they were recorded. Replies to the recorded client's own commands are left out:
whoever listens now gets replies of its own. Apart from reading the file nothing here waits or knows time.
"""

import gzip
import pathlib
import typing
import zlib

import attrs
import msgspec

from collector.errors import StartError
from collector.simulator._books import (
    PRICE_PLACES,
    SIZE_PLACES,
    Depth,
    LevelChange,
    parse_fixed,
    read_delta,
    read_snapshot,
)

# A reply belongs to a command of the client that was recorded, not to a market.
REPLY_KINDS = frozenset({"subscribed", "unsubscribed", "ok", "error"})
# One line holds one frame, and the exchange's largest message has 64 MiB.
LINE_BYTES_MAX = 80 * 2**20


class _Line(msgspec.Struct):
    recv_ns: int
    frame: str


class _Envelope(msgspec.Struct):
    type: str
    sid: int | None = None
    seq: int | None = None
    id: int | None = None
    msg: msgspec.Raw = msgspec.Raw(b"{}")


class _Subject(msgspec.Struct):
    market_ticker: str = ""
    market_id: str = ""
    count_fp: str = "0"
    yes_price_dollars: str = "0"


_line_decoder = msgspec.json.Decoder(_Line)
_envelope_decoder = msgspec.json.Decoder(_Envelope)
_subject_decoder = msgspec.json.Decoder(_Subject)

Effect = LevelChange | Depth | None


@attrs.frozen
class TapeFrame:
    """One frame to be played: when, what, for whom, what it does to the book, and its recorded clock."""

    offset_ns: int
    kind: str
    ticker: str
    msg: bytes
    effect: Effect
    clock: int | None = None


@attrs.frozen
class TapeMarket:
    """What a tape tells of one of its markets."""

    ticker: str
    market_id: str
    # The place of its first frame, if that is a snapshot: what the first subscriber gets.
    opening_index: int | None
    volume_e2: int
    # The coarsest usual tick that all of its prices lie on.
    tick_e4: int
    # Its recorded frames carry the exchange's clock.
    has_clock: bool = False


@attrs.frozen
class Tape:
    """One recorded file."""

    name: str
    frames: tuple[TapeFrame, ...]
    markets: tuple[TapeMarket, ...]
    # The recorded connection had ended before the frames at these places.
    cuts: frozenset[int]
    began_ns: int
    duration_ns: int


def load_tape(path: pathlib.Path) -> Tape:
    """
    Read a tape from its file.

    Raises:
        StartError: the file is missing or is not a tape; the message says where it breaks the format.
    """
    try:
        with gzip.open(path, "rb") as lines:
            return read_tape(path.name, lines)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StartError(f"{path} is not a tape: not a complete gzip file") from error
    except OSError as error:
        raise StartError(f"can't read the tape {path}: {error.strerror or error}") from error


def read_tape(name: str, lines: typing.Iterable[bytes]) -> Tape:
    """
    Build a tape from its lines.

    Raises:
        StartError: a line breaks the format.
    """
    reader = _TapeReader()
    number = 0
    for number, line in enumerate(lines, 1):
        try:
            reader.take(line)
        except ValueError as error:
            raise StartError(f"{name} is not a tape: line {number}: {error}") from error
    if not reader.frames:
        raise StartError(f"{name} is not a tape that can be played: {number} lines, no market data in them")
    return reader.tape(name)


class _MarketNotes:
    """What has been seen of one market so far."""

    def __init__(self) -> None:
        self.market_id = ""
        self.opening_index: int | None = None
        self.volume_e2 = 0
        self.off_cent = False
        self.off_tenth = False
        self.has_clock = False

    def see_price(self, price_e4: int) -> None:
        self.off_cent |= price_e4 % 100 != 0
        self.off_tenth |= price_e4 % 10 != 0

    def tick_e4(self) -> int:
        return 1 if self.off_tenth else 10 if self.off_cent else 100


class _TapeReader:
    """Takes lines one by one; holds the place, the sequence numbers and the markets seen so far."""

    def __init__(self) -> None:
        self.frames: list[TapeFrame] = []
        self._cuts: set[int] = set()
        self._notes: dict[str, _MarketNotes] = {}
        self._last_seq: dict[int, int] = {}
        self._began_ns: int | None = None
        self._offset_ns = 0

    def take(self, text: bytes) -> None:
        line = _line_decoder.decode(text)
        envelope = _envelope_decoder.decode(line.frame)
        if self._began_ns is None:
            self._began_ns = line.recv_ns
        # Receive clocks step back now and then; the order of the lines is what counts.
        self._offset_ns = max(self._offset_ns, line.recv_ns - self._began_ns)
        self._follow_seq(envelope)
        if envelope.type in REPLY_KINDS or envelope.id is not None:
            return
        self._take_data(envelope.type, bytes(envelope.msg))

    def _follow_seq(self, envelope: _Envelope) -> None:
        if envelope.sid is None or envelope.seq is None:
            return
        if envelope.seq <= self._last_seq.get(envelope.sid, -1):
            # A reconnection makes the numbers of every sid fall, each at its own frame: it counts once.
            self._last_seq.clear()
            self._cuts.add(len(self.frames))
        self._last_seq[envelope.sid] = envelope.seq

    def _take_data(self, kind: str, msg: bytes) -> None:
        subject = _subject_decoder.decode(msg)
        effect: Effect = None
        clock: int | None = None
        if kind == "orderbook_delta":
            delta, effect = read_delta(msg)
            clock = delta.clock
        elif kind == "orderbook_snapshot":
            snapshot, effect = read_snapshot(msg)
            clock = snapshot.clock
        if subject.market_ticker:
            self._note(kind, subject, effect)
            self._notes[subject.market_ticker].has_clock |= clock is not None
        frame = TapeFrame(self._offset_ns, kind, subject.market_ticker, msg, effect=effect, clock=clock)
        self.frames.append(frame)

    def _note(self, kind: str, subject: _Subject, effect: Effect) -> None:
        notes = self._notes.get(subject.market_ticker)
        if notes is None:
            notes = self._notes[subject.market_ticker] = _MarketNotes()
            notes.opening_index = len(self.frames) if kind == "orderbook_snapshot" else None
        notes.market_id = notes.market_id or subject.market_id
        if isinstance(effect, LevelChange):
            notes.see_price(effect.price_e4)
        elif isinstance(effect, Depth):
            for price_e4, _ in effect.yes + effect.no:
                notes.see_price(price_e4)
        elif kind == "trade":
            notes.volume_e2 += parse_fixed(subject.count_fp, SIZE_PLACES)
            notes.see_price(parse_fixed(subject.yes_price_dollars, PRICE_PLACES))

    def tape(self, name: str) -> Tape:
        markets = tuple(
            TapeMarket(
                ticker=ticker,
                market_id=notes.market_id,
                opening_index=notes.opening_index,
                volume_e2=notes.volume_e2,
                tick_e4=notes.tick_e4(),
                has_clock=notes.has_clock,
            )
            for ticker, notes in self._notes.items()
        )
        return Tape(
            name=name,
            frames=tuple(self.frames),
            markets=markets,
            # A connection that ends before anything was played is no cut.
            cuts=frozenset(self._cuts - {0}),
            began_ns=self._began_ns or 0,
            duration_ns=self._offset_ns,
        )


def copy_ticker(ticker: str, copy: int) -> str:
    """Name a market in the k-th copy of its tape; copy 0 keeps the recorded names."""
    return f"{ticker}-C{copy:03d}" if copy else ticker


def copy_msg(msg: bytes, ticker: str, copy: int) -> bytes:
    """Put the copy's ticker in the place of the recorded one; copy 0 is as recorded."""
    if not copy or not ticker:
        return msg
    return msg.replace(f'"{ticker}"'.encode(), f'"{copy_ticker(ticker, copy)}"'.encode())
