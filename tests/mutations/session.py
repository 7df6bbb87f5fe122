"""
One session of an exchange that misbehaves, from a seed, against a model without code of the recorder.

The model holds the true book of each market and makes frames of it. Some frames are changed on their way:
their type, their fields, their `sid`, their number, their code, their clock. Some are lost, repeated or cut
short. After each frame, a book that the tracker calls exact must be the model's. In the end the exchange
behaves and answers what is requested, and every market must become exact.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from attrs import define, field

from collector.facts import FeedTracker, ReceivedFrame

FIRST_US: Final = 1_786_410_000_000_000
MARKETS: Final = ("A", "B", "C")
FRAMES: Final = 40
CHANGED_SHARE: Final = 0.08

OPTIONAL: Final = ("clock", "ts_ms", "market_id", "msg")
"""Fields that no book depends on."""

BOOK_TYPES: Final = ("orderbook_delta", "orderbook_snapshot")

Frame = dict[str, Any]


@define(eq=False)
class Model:
    """The exchange: true books in hundredths of a contract by side and price, clocks, and numbers by sid."""

    rng: random.Random
    sid: int = 1
    books: dict[str, dict[tuple[str, str], int]] = field(factory=dict[str, dict[tuple[str, str], int]])
    clocks: dict[str, int] = field(factory=dict[str, int])
    numbers: dict[int, int] = field(factory=dict[int, int])

    def __attrs_post_init__(self) -> None:
        for ticker in MARKETS:
            self.books[ticker] = {("yes", "0.4000"): 500, ("no", "0.3000"): 700}
            self.clocks[ticker] = self.rng.randrange(1, 50)

    def numbered(self, sid: int, frame: Frame) -> Frame:
        """A frame with the next number of its subscription."""
        self.numbers[sid] = self.numbers.get(sid, 0) + 1
        return {"sid": sid, "seq": self.numbers[sid], **frame}

    def subscribed(self) -> Frame:
        """The acknowledgement of the subscription that carries the books."""
        return {"type": "subscribed", "id": 1, "msg": {"channel": "orderbook_delta", "sid": self.sid}}

    def snapshot(self, ticker: str, command_id: int | None = None) -> Frame:
        """A market's true book."""
        msg: Frame = {"market_ticker": ticker, "market_id": "m", "clock": self.clocks[ticker]}
        for side in ("yes", "no"):
            levels = [
                [price, f"{size / 100:.2f}"] for (on, price), size in self.books[ticker].items() if on == side
            ]
            if levels:
                msg[f"{side}_dollars_fp"] = levels
        frame = {"type": "orderbook_snapshot", "msg": msg}
        return self.numbered(self.sid, frame if command_id is None else {"id": command_id, **frame})

    def changes(self) -> Iterator[Frame]:
        """An action: one change of a market or several with one clock."""
        ticker = self.rng.choice(MARKETS)
        self.clocks[ticker] += self.rng.randrange(1, 4)
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            side, price = self.rng.choice(("yes", "no")), self.rng.choice(("0.1000", "0.4000", "0.3000"))
            size = self.books[ticker].get((side, price), 0)
            delta = self.rng.choice((100, 250, -size)) or 100
            self.books[ticker][side, price] = size + delta
            if not size + delta:
                del self.books[ticker][side, price]
            msg = {
                "market_ticker": ticker,
                "market_id": "m",
                "side": side,
                "price_dollars": price,
                "delta_fp": f"{delta / 100:.2f}",
                "ts_ms": 1_786_410_000_000,
                "clock": self.clocks[ticker],
            }
            yield self.numbered(self.sid, {"type": "orderbook_delta", "msg": msg})

    def trade(self) -> Frame:
        """A trade, on a subscription of its own."""
        msg = {
            "trade_id": f"t{self.numbers.get(9, 0)}",
            "market_ticker": self.rng.choice(MARKETS),
            "yes_price_dollars": "0.4000",
            "no_price_dollars": "0.6000",
            "count_fp": "1.00",
            "taker_side": "yes",
            "ts_ms": 1_786_410_000_000,
        }
        return self.numbered(9, {"type": "trade", "msg": msg})

    def refusal(self) -> Frame:
        """A refusal of a command, which takes a number."""
        return self.numbered(self.sid, {"type": "error", "msg": {"code": 14, "msg": "refused"}})

    def next_frames(self) -> Iterator[Frame]:
        """What happens next. A frame is to be sent before the next one is made."""
        match self.rng.random():
            case chance if chance < 0.7:
                yield from self.changes()
            case chance if chance < 0.8:
                yield self.trade()
            case chance if chance < 0.85:
                yield self.refusal()
            case _:
                yield self.snapshot(self.rng.choice(MARKETS), 5)


def change_type(rng: random.Random, frame: Frame) -> None:
    """The type has another name, of this protocol or of none."""
    frame["type"] = rng.choice(
        ("orderbook_change", "trade", "ok", "ticker", "orderbook_snapshot", "orderbook_delta")
    )


def rename_field(rng: random.Random, frame: Frame) -> None:
    """A field of the frame or of its content has another name."""
    fields = rng.choice((frame, frame.get("msg", {})))
    if fields:
        name = rng.choice(sorted(fields))
        fields[f"{name}_v3"] = fields.pop(name)


def remove_field(rng: random.Random, frame: Frame) -> None:
    """A field that is not the number is missing. A side of a snapshot may be: that is an empty side."""
    names = [name for name in sorted(frame.get("msg", {})) if not name.startswith(("yes_", "no_", *OPTIONAL))]
    if names:
        del frame["msg"][rng.choice(names)]


def spoil_value(rng: random.Random, frame: Frame) -> None:
    """A value of a known field is one that nobody knows."""
    name = rng.choice(sorted(frame["msg"])) if frame.get("msg") else None
    if name is not None and not name.startswith(OPTIONAL):
        frame["msg"][name] = rng.choice(("often", -1.5, None, {"a": 1}, True))


def swap_sid(rng: random.Random, frame: Frame) -> None:
    """The frame is on another subscription."""
    if "sid" in frame:
        frame["sid"] = rng.choice((1, 2, 9, 77))


def restart_numbers(rng: random.Random, frame: Frame) -> None:
    """The number is one that came before, or far ahead."""
    if "seq" in frame:
        frame["seq"] = rng.choice((1, 2, max(1, frame["seq"] - 1), frame["seq"] + 5))


def change_code(rng: random.Random, frame: Frame) -> None:
    """The frame is an error that nobody knows, or one that ends the subscription."""
    frame["type"] = "error"
    frame["msg"] = {"code": rng.choice((7, 9, 10, 17, 25, 99, 4711, "x")), "msg": "as the exchange words it"}


def lower_clock(rng: random.Random, frame: Frame) -> None:
    """The clock of a change is lower than before."""
    if frame.get("type") == "orderbook_delta" and "clock" in frame.get("msg", {}):
        frame["msg"]["clock"] = rng.choice((0, 1, 2))


def lose(_rng: random.Random, frame: Frame) -> None:
    """The frame does not arrive."""
    frame["lost"] = True


CHANGES: Final[tuple[Callable[[random.Random, Frame], None], ...]] = (
    change_type,
    rename_field,
    remove_field,
    spoil_value,
    swap_sid,
    restart_numbers,
    change_code,
    lower_clock,
    lose,
)


@define(eq=False)
class Session:
    """A tracker and a model, and what has been sent so far."""

    seed: int
    rng: random.Random = field(init=False)
    model: Model = field(init=False)
    tracker: FeedTracker = field(init=False)
    log: list[str] = field(factory=list[str])
    _frames: int = 0
    _is_frame_hidden: bool = False
    """
    A frame of the books was lost, or looks like one of another subscription or like an earlier one, and no
    frame after it has arrived: nobody can know of it yet.
    """

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.model = Model(self.rng)
        self.tracker = FeedTracker.of_markets(MARKETS)

    def run(self) -> None:
        """Misbehave, then behave. Raises AssertionError with the frames where the tracker is wrong."""
        self.send(self.model.subscribed())
        for ticker in MARKETS:
            self.send(self.model.snapshot(ticker))
        self.check()
        while self._frames < FRAMES:
            for frame in self.model.next_frames():
                self.misbehave(frame)
                self.check()
        self.heal()

    def misbehave(self, frame: Frame) -> None:
        """Send a frame, perhaps changed."""
        of_books = frame["sid"] == self.model.sid
        if self.rng.random() < CHANGED_SHARE:
            frame = copy.deepcopy(frame)
            for change in self.rng.sample(CHANGES, self.rng.choice((1, 1, 1, 2))):
                change(self.rng, frame)
        elif of_books:
            self._is_frame_hidden = False
        is_elsewhere = frame.get("sid") != self.model.sid and frame.get("type") not in BOOK_TYPES
        is_repetition = json.dumps(frame) in self.log
        self._is_frame_hidden |= of_books and (is_elsewhere or is_repetition or "lost" in frame)
        if not frame.pop("lost", False):
            self.send(frame)
            if self.rng.random() < 0.02:
                self.send(frame)

    def send(self, frame: Frame) -> None:
        """Have the tracker process a frame."""
        text = json.dumps(frame)
        if self.log and self.rng.random() < CHANGED_SHARE / 20:
            text = text[: self.rng.randrange(len(text))]
        self.log.append(text)
        self._frames += 1
        self.tracker.process((ReceivedFrame(self._frames, FIRST_US + self._frames * 1000, text),))

    def check(self, *, is_all_exact: bool = False) -> None:
        """No exact book is another than the model's as of the frames that came; at the end all are exact."""
        for ticker in MARKETS:
            if not self.tracker.is_exact(ticker):
                assert not is_all_exact, self.report(f"{ticker} does not recover")
                continue
            book = self.tracker.markets[ticker].book
            held = {("yes", price): size for price, size in book.yes_bids.items()}
            held |= {("no", price): size for price, size in book.no_bids.items()}
            true = {
                (side, round(float(price) * 10_000)): size
                for (side, price), size in self.model.books[ticker].items()
            }
            if held != true and not self._is_frame_hidden:
                raise AssertionError(self.report(f"{ticker} is called exact: {held}, and is {true}"))

    def heal(self) -> None:
        """The exchange behaves: it answers a recorder that subscribes again, or that requests snapshots."""
        for attempt in range(3):
            if self.tracker.subscriptions.book_sid != self.model.sid:
                self.model.sid = 20 + attempt
                self.send_whole(self.model.subscribed())
                for ticker in MARKETS:
                    self.send_whole(self.model.snapshot(ticker))
            else:
                self.send_whole(self.model.trade())
                for ticker in MARKETS:
                    self.send_whole(self.model.snapshot(ticker, 6))
        for frame in self.model.changes():
            self.send_whole(frame)
        self._is_frame_hidden = False
        self.check(is_all_exact=True)

    def send_whole(self, frame: Frame) -> None:
        """Send a frame as it is."""
        self.log.append(json.dumps(frame))
        self._frames += 1
        received_us = FIRST_US + self._frames * 1000
        self.tracker.process((ReceivedFrame(self._frames, received_us, self.log[-1]),))

    def report(self, what: str) -> str:
        """A failure with all that led to it."""
        return "\n".join([f"seed {self.seed}: {what}", *self.log])
