"""
The live stream: what the sessions publish, and a bounded mailbox for every client that reads along.

Theory of operation. A client never gets a market's deltas without the book they change: a market is `due` for
a mailbox when the client is owed its whole book, which it is at the start, after an overflow, and when the
book was lost. While a market is due nothing of it is queued; the book is built at the moment the client takes
its messages, and later deltas queue up behind it. So a client that falls behind costs a bounded amount of
memory, and what it gets when it comes back is the present, not the past.

`publish` belongs to the hot path. It never waits; without clients that want books it returns at once; each
message is encoded once, whatever the number of clients, and only when one takes it. It must be called in the
same step in which the tracker has folded the batch, or a book that is built in between would already hold
what is published later.

This module must not know what the messages look like (the encoder does), nor how they are sent. No tasks live
here: the sessions' book tasks publish, the web's connection tasks take.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, Literal, Protocol

import trio
from attrs import define, field

from collector.facts import Cause, DeltaFact, FrameBatch, GapFact, SnapshotFact
from collector.observe import RecorderState, SessionStats
from collector.wakeup import Wakeup

Stream = Literal["stats", "orderbook"]
STREAMS: Final[frozenset[Stream]] = frozenset({"stats", "orderbook"})

CLIENTS_MAX: Final = 200
"""Far more than the people who look; with the bytes below, 200 MB at the very worst."""
MESSAGES_MAX: Final = 2_000
"""A tenth of a second of the fastest flow, minutes of an ordinary one."""
BYTES_MAX: Final = 2**20
"""What may wait for one client, counted in characters: bytes, as everything here is ASCII."""
MESSAGES_PER_S_MAX: Final = 3_000
"""
What all clients together are sent: a message costs the server about 60 µs, so a fifth of a core at the most.
Each client has its share; what flows faster overflows, and becomes books.
"""
_BOOKS_PER_STEP: Final = 8
"""Building a deep book takes up to a millisecond, and a step of a task must stay below ten."""


class LiveEncoder(Protocol):
    """Makes the texts of the live stream."""

    def delta(self, fact: DeltaFact) -> str:
        """A change as text."""
        ...

    def snapshot(self, fact: SnapshotFact) -> str:
        """A snapshot of the exchange as text."""
        ...

    def current(self, ticker: str) -> str | None:
        """The book as it is now as text; None when the market has none."""
        ...

    def stats(self, clients: int) -> str:
        """The recorder's numbers as text, with the number of clients."""
        ...


@define(eq=False)
class Mailbox:
    """
    What waits for one client.

    `dropped` counts messages that were thrown away because the client was too slow for them, `resyncs` how
    often that happened. Filled by the hub, emptied by the one task that sends to the client.
    """

    streams: frozenset[Stream]
    markets: frozenset[str] | None
    encoder: LiveEncoder = field(repr=False)
    messages_max: int = MESSAGES_MAX
    bytes_max: int = BYTES_MAX
    dropped: int = 0
    resyncs: int = 0
    is_closed: bool = False
    _waiting: deque[tuple[str, str]] = field(factory=deque[tuple[str, str]], init=False, repr=False)
    _waiting_bytes: int = field(default=0, init=False)
    # A dict for its order: markets are served in the order in which they became due.
    _due: dict[str, None] = field(factory=dict[str, None], init=False, repr=False)
    _stats: str | None = field(default=None, init=False, repr=False)
    _changed: Wakeup = field(factory=Wakeup, init=False, repr=False)

    @property
    def waiting(self) -> int:
        """How many order book messages wait."""
        return len(self._waiting)

    @property
    def due(self) -> tuple[str, ...]:
        """The markets whose whole book the client is owed."""
        return tuple(self._due)

    def takes(self, ticker: str) -> bool:
        """Whether a message about this market would be queued now."""
        return ticker not in self._due and (self.markets is None or ticker in self.markets)

    def owe(self, tickers: Iterable[str]) -> None:
        """Owe the client the books of these markets, as far as it wants them."""
        for ticker in tickers:
            if self.markets is None or ticker in self.markets:
                self._due[ticker] = None
        if self._due:
            self._changed.notify()

    def put_book(self, ticker: str, text: str) -> None:
        """Queue a message about a market that `takes` has agreed to."""
        if len(self._waiting) >= self.messages_max or self._waiting_bytes + len(text) > self.bytes_max:
            self._overflow(ticker)
            return
        self._waiting.append((ticker, text))
        self._waiting_bytes += len(text)
        self._changed.notify()

    def put_stats(self, text: str) -> None:
        """Replace the statistics that wait: only the newest are worth sending."""
        self._stats = text
        self._changed.notify()

    def close(self) -> None:
        """Let `take` return an empty list from now on."""
        self.is_closed = True
        self._changed.notify()

    async def take(self) -> list[str]:
        """
        Wait until there is something, and take it: what waits, then the books that are due, then statistics.

        The list is empty only when the mailbox is closed. A checkpoint; messages that were already taken
        are lost when it is cancelled, as nobody is left to send them to.
        """
        await trio.lowlevel.checkpoint()
        while not (self.is_closed or self._waiting or self._due or self._stats is not None):
            await self._changed.wait()
        if self.is_closed:
            return []
        texts = [text for _, text in self._waiting]
        self._waiting.clear()
        self._waiting_bytes = 0
        await self._take_due(texts)
        if self._stats is not None:
            texts.append(self._stats)
            self._stats = None
        return texts

    async def _take_due(self, texts: list[str]) -> None:
        taken_bytes = 0
        # Those that become due meanwhile are for the next call, which is what ends this one.
        for count, ticker in enumerate(tuple(self._due), 1):
            if taken_bytes > self.bytes_max:
                return
            # From here to the end of the body nothing is published: the book and the queue agree.
            del self._due[ticker]
            text = self.encoder.current(ticker)
            if text is not None:
                texts.append(text)
                taken_bytes += len(text)
            if count % _BOOKS_PER_STEP == 0:
                await trio.lowlevel.checkpoint()

    def _overflow(self, ticker: str) -> None:
        self.dropped += len(self._waiting) + 1
        self.resyncs += 1
        self._due.update(dict.fromkeys(waiting for waiting, _ in self._waiting))
        self._due[ticker] = None
        self._waiting.clear()
        self._waiting_bytes = 0
        self._changed.notify()


@define(eq=False)
class LiveHub:
    """
    All mailboxes of the process. Everything here is synchronous and belongs to the one Trio thread.

    The web attaches its encoder before it lets the first client join; until then nothing is published.
    """

    state: RecorderState
    encoder: LiveEncoder | None = None
    clients_max: int = CLIENTS_MAX
    is_closed: bool = False
    clients_ever: int = 0
    _dropped_before: int = field(default=0, init=False)
    _mailboxes: set[Mailbox] = field(factory=set[Mailbox], init=False)
    _readers: tuple[Mailbox, ...] = field(default=(), init=False)

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._mailboxes)

    @property
    def dropped(self) -> int:
        """How many messages slow clients have missed since the start, those who left included."""
        return self._dropped_before + sum(mailbox.dropped for mailbox in self._mailboxes)

    @property
    def is_full(self) -> bool:
        """Whether no more clients are taken."""
        return len(self._mailboxes) >= self.clients_max

    @property
    def share_per_s(self) -> float:
        """How many messages a second a client may be sent."""
        return MESSAGES_PER_S_MAX / max(1, len(self._readers))

    def join(self, streams: frozenset[Stream] = STREAMS, markets: frozenset[str] | None = None) -> Mailbox:
        """A mailbox for a new client, which is owed the books of the markets that it wants."""
        assert self.encoder is not None
        mailbox = Mailbox(streams, markets, self.encoder, is_closed=self.is_closed)
        self._mailboxes.add(mailbox)
        self.clients_ever += 1
        if "orderbook" in streams:
            self._readers = (*self._readers, mailbox)
            mailbox.owe(self.state.tickers)
        return mailbox

    def leave(self, mailbox: Mailbox) -> None:
        """Forget a client."""
        self._mailboxes.discard(mailbox)
        self._readers = tuple(reader for reader in self._readers if reader is not mailbox)
        self._dropped_before += mailbox.dropped

    def publish(self, session: SessionStats, batch: FrameBatch) -> None:
        """Offer what a batch has changed to every client that wants it."""
        if not self._readers:
            return
        for fact in batch.facts:
            if isinstance(fact, SnapshotFact) and fact.origin == "checkpoint":
                continue  # Says nothing new, and is older than what its readers have.
            if isinstance(fact, DeltaFact | SnapshotFact):
                self._offer(fact)
            elif (
                isinstance(fact, GapFact)
                and fact.cause is Cause.UNFOLLOWED
                and fact.market_ticker is not None
            ):
                self.refresh([fact.market_ticker])
            elif isinstance(fact, GapFact):
                self.refresh(
                    ticker
                    for ticker, market in session.tracker.markets.items()
                    if not market.is_exact and fact.market_ticker in (None, ticker)
                )

    def refresh(self, tickers: Iterable[str]) -> None:
        """Owe everybody these books anew: something about them has changed that no delta tells."""
        if self._readers:
            tickers = tuple(tickers)
            for mailbox in self._readers:
                mailbox.owe(tickers)

    def publish_stats(self) -> None:
        """Send the newest statistics to everybody who wants them."""
        wanting = [mailbox for mailbox in self._mailboxes if "stats" in mailbox.streams]
        if not wanting:
            return
        assert self.encoder is not None
        text = self.encoder.stats(self.clients)
        for mailbox in wanting:
            mailbox.put_stats(text)

    def close(self) -> None:
        """Let every client go: connections end with 'going away', which browsers answer by coming again."""
        self.is_closed = True
        for mailbox in self._mailboxes:
            mailbox.close()

    def _encode(self, fact: DeltaFact | SnapshotFact) -> str:
        assert self.encoder is not None
        return self.encoder.delta(fact) if isinstance(fact, DeltaFact) else self.encoder.snapshot(fact)

    def _offer(self, fact: DeltaFact | SnapshotFact) -> None:
        ticker = fact.market_ticker
        text: str | None = None
        for mailbox in self._readers:
            if mailbox.takes(ticker):
                if text is None:
                    text = self._encode(fact)
                mailbox.put_book(ticker, text)
