"""Commands that nobody would miss at once: audits in rotation, and probes of what is silent."""

import json
from collections.abc import Collection
from itertools import pairwise
from typing import Any

import pytest
from attrs import define, field

from collector.errors import FeedLost
from collector.facts import ReplyFact, SequenceChain, SnapshotFact
from collector.protocol import ErrorReply, Message, OkReply, SubscribedReply, UnsubscribedReply
from collector.subscriptions import Conversation, Pace

HOUR_S = 3600.0


@define
class Exchange:
    """Virtual time, and an exchange that answers in it. `muted` are the sids that say nothing."""

    conversation: Conversation
    exact: Collection[str]
    muted: Collection[int] = ()
    lost: list[str] = field(factory=list[str])
    now_s: float = 0.0
    said: list[tuple[float, dict[str, Any]]] = field(factory=list[tuple[float, dict[str, Any]]])
    chains: dict[int, SequenceChain] = field(factory=lambda: {sid: SequenceChain() for sid in (1, 2, 3)})

    def reply(self, message: Message, *, sid: int | None = None, command_id: int | None = None) -> None:
        self.conversation.note([ReplyFact(sid, command_id, message)], self.now_s, self.chains)

    def subscribe(self) -> "Exchange":
        for command in self.conversation.due(self.now_s, self.lost, self.is_exact):
            number = json.loads(command)["id"]
            channel = json.loads(command)["params"]["channels"][0]
            sid = ("orderbook_delta", "trade", "market_lifecycle_v2").index(channel) + 1
            self.reply(SubscribedReply(channel, sid), command_id=number)
        return self

    def is_exact(self, ticker: str) -> bool:
        return ticker in self.exact

    def answer(self, command: dict[str, Any]) -> None:
        (sid,) = command["params"].get("sids", [None])
        if sid is None or sid in self.muted:
            return
        for ticker in command["params"]["market_tickers"]:
            self.chains[sid].expected += 1
            if sid == 1:
                snapshot = SnapshotFact(ticker, 5, 0, "requested", {}, {}, b"", sid=1, frame_number=1)
                self.conversation.note([snapshot], self.now_s, self.chains)
                self.lost = [other for other in self.lost if other != ticker]
            else:
                self.reply(OkReply(), sid=2, command_id=command["id"])

    def run(self, until_s: float) -> list[tuple[float, dict[str, Any]]]:
        """Do what is due until a time, and tell what was said; steps without a command must be few."""
        first, steps = len(self.said), 0
        while (due_s := max(self.now_s, self.conversation.next_due_s(self.lost))) <= until_s:
            self.now_s = due_s
            commands = [json.loads(text) for text in self.conversation.due(due_s, self.lost, self.is_exact)]
            self.said += [(due_s, command) for command in commands]
            for command in commands:
                self.answer(command)
            steps += 1
            assert steps < 10 + 10 * (len(self.said) - first), "it goes in circles"
        self.now_s = until_s
        return self.said[first:]


def exchange_of(tickers: list[str], pace: Pace, exact: Collection[str] | None = None) -> Exchange:
    """All channels are on; unless it is told otherwise all books are exact."""
    return Exchange(Conversation(tickers, pace), tickers if exact is None else exact).subscribe()


@pytest.mark.parametrize(("markets", "at_once"), [(1, 1), (7, 1), (900, 1), (2000, 3)])
def test_each_book_is_audited_once_in_the_interval(markets: int, at_once: int) -> None:
    """However many markets: all of them within the interval, evenly, and none twice."""
    tickers = [f"M{n}" for n in range(markets)]
    said = exchange_of(tickers, Pace(audit_interval_s=900)).run(900.5)

    assert [command["params"]["action"] for _, command in said] == ["get_snapshot"] * len(said)
    assert {len(command["params"]["market_tickers"]) for _, command in said} == {at_once}
    asked = [ticker for _, command in said for ticker in command["params"]["market_tickers"]]
    assert sorted(asked[:markets]) == sorted(tickers)
    assert len(asked) < markets + at_once
    times_s = [at_s for at_s, _ in said]
    assert all(after_s - before_s >= 1 for before_s, after_s in pairwise(times_s))


def test_more_markets_than_the_pace_allows_take_longer() -> None:
    """A hundred markets in a command and one command a second are the most."""
    tickers = [f"M{n}" for n in range(1000)]
    said = exchange_of(tickers, Pace(audit_interval_s=2)).run(5.5)

    assert [len(command["params"]["market_tickers"]) for _, command in said] == [100] * 5
    assert [at_s for at_s, _ in said] == [1, 2, 3, 4, 5]


def test_book_that_is_not_exact_is_left_out() -> None:
    """It is asked for by the recovery, or its first snapshot is on its way."""
    said = exchange_of(["A", "B", "C"], Pace(audit_interval_s=30), exact=["A", "C"]).run(300)

    assert [command["params"]["market_tickers"] for _, command in said[:4]] == [["A"], ["C"], ["A"], ["C"]]


def test_lost_books_go_first() -> None:
    """While books are lost the commands are for them, and audits have what is left."""
    exchange = exchange_of(list("ABXYZ"), Pace(audit_interval_s=10, snapshot_markets_max=1), exact=["A", "B"])
    exchange.run(1.9)
    exchange.lost = ["X", "Y", "Z"]
    said = exchange.run(5.5)

    assert [command["params"]["market_tickers"][0] for _, command in said] == ["X", "Y", "Z", "A"]


def test_audit_without_an_answer_comes_again_in_its_turn_only() -> None:
    """It is counted, and nothing is repeated in haste."""
    exchange = exchange_of(["A", "B"], Pace(audit_interval_s=100))
    exchange.muted = [1]
    said = exchange.run(1000)

    assert len(said) == 20
    assert exchange.conversation.unanswered_audits == 19


def test_refused_audit_is_survived() -> None:
    """An exchange that can't give a book costs an audit, and nothing else."""
    exchange = exchange_of(["A"], Pace(audit_interval_s=100))
    exchange.muted = [1]
    ((_, command),) = exchange.run(100)
    exchange.reply(ErrorReply(11, "Invalid parameter"), command_id=command["id"])

    assert [at_s for at_s, _ in exchange.run(350)] == [200, 300]


def test_nothing_is_audited_or_probed_without_a_subscription() -> None:
    """Neither before the acknowledgement, nor between two subscriptions, nor while we take our leave."""
    pace = Pace(audit_interval_s=10, silence_probe_s=5)
    conversation = Conversation(["A"], pace)
    conversation.due(0.0, [])
    assert len(conversation.due(9.0, [], lambda ticker: True)) == 0

    exchange = exchange_of(["A"], pace)
    exchange.muted = [1, 2]
    exchange.reply(UnsubscribedReply(), sid=1)
    exchange.reply(UnsubscribedReply(), sid=2)
    assert {command["cmd"] for _, command in exchange.run(20)} == {"subscribe"}

    exchange = exchange_of(["A"], pace)
    exchange.conversation.leave()
    assert exchange.run(HOUR_S) == []
    assert exchange.conversation.next_due_s(["A"]) == float("inf")


def test_both_can_be_turned_off() -> None:
    """Without intervals a quiet day is a silent one."""
    assert exchange_of(["A"], Pace(audit_interval_s=0, silence_probe_s=0)).run(24 * HOUR_S) == []


def test_quiet_market_is_probed_and_answers_for_hours() -> None:
    """Each minute a question on either subscription and its answer, and never more."""
    exchange = exchange_of(["A", "B"], Pace(silence_probe_s=60))
    said = exchange.run(5 * HOUR_S)

    books = [command for _, command in said if command["params"]["sids"] == [1]]
    trades = [command for _, command in said if command["params"]["sids"] == [2]]
    assert {command["params"]["action"] for command in books} == {"get_snapshot"}
    assert {command["params"]["action"] for command in trades} == {"add_markets"}
    assert len(books) == pytest.approx(300, abs=6)
    assert len(trades) == pytest.approx(300, abs=6)
    assert all(len(command["params"]["market_tickers"]) == 1 for _, command in said)


def test_frames_make_probes_unnecessary() -> None:
    """Any numbered frame is heard, whatever it says."""
    exchange = exchange_of(["A"], Pace(silence_probe_s=60))
    for minute in range(100):
        exchange.chains[1].expected += 1
        exchange.chains[2].expected += 1
        exchange.conversation.note([], exchange.now_s, exchange.chains)
        assert exchange.run(minute * 59.0) == []


@pytest.mark.parametrize(("sid", "channel"), [(1, "orderbook_delta"), (2, "trade")])
def test_mute_subscription_ends_the_connection(sid: int, channel: str) -> None:
    """Two probes without an answer, each about another market, and the reason says which subscription."""
    exchange = exchange_of(["A", "B"], Pace(silence_probe_s=60, reply_s_max=10))
    exchange.muted = [sid]
    with pytest.raises(FeedLost, match=rf"subscription {sid} \({channel}\) is silent: two probes"):
        exchange.run(HOUR_S)

    assert exchange.now_s == pytest.approx(80, abs=2)
    probes = [command for _, command in exchange.said if command["params"]["sids"] == [sid]]
    assert len(probes) == 2


def test_subscription_that_never_says_a_word_is_mute() -> None:
    """All of its books are lost and asked for in vain; that does not hide it."""
    exchange = exchange_of(["A", "B"], Pace(silence_probe_s=60), exact=[])
    exchange.lost, exchange.muted = ["A", "B"], [1]
    with pytest.raises(FeedLost, match=r"subscription 1 .* is silent"):
        exchange.run(HOUR_S)


def test_one_lost_answer_is_forgiven() -> None:
    """The second probe is answered, so nothing is wrong."""
    exchange = exchange_of(["A"], Pace(silence_probe_s=60, reply_s_max=10))
    exchange.muted = [1]
    exchange.run(65)
    exchange.muted = []
    exchange.run(HOUR_S)


@pytest.mark.parametrize("code", [18, 27])
def test_probe_that_was_not_carried_out_does_not_count(code: int) -> None:
    """An exchange that is busy is asked again later, and is not taken for mute."""
    exchange = exchange_of(["A"], Pace(silence_probe_s=60, reply_s_max=10))
    exchange.muted = [1]
    for _ in range(6):
        while not (said := [c for _, c in exchange.run(exchange.now_s + 0.5) if c["params"]["sids"] == [1]]):
            pass
        exchange.reply(ErrorReply(code, "busy"), command_id=said[0]["id"])
    exchange.muted = []
    exchange.run(HOUR_S)


def test_exchange_that_knows_no_such_probe_is_asked_rarely() -> None:
    """That says nothing of the subscription: no reconnection follows, minute by minute."""
    exchange = exchange_of(["A"], Pace(silence_probe_s=60, refused_s=300))
    exchange.muted = [2]
    for _ in range(5):
        while not (said := [c for _, c in exchange.run(exchange.now_s + 5) if c["params"]["sids"] == [2]]):
            pass
        exchange.reply(ErrorReply(13, "Unsupported action"), command_id=said[0]["id"])

    assert exchange.now_s == pytest.approx(60 + 4 * 300, abs=30)


def test_subscription_that_the_exchange_does_not_know_is_mute() -> None:
    """Error 7 says that nothing will come."""
    exchange = exchange_of(["A"], Pace(silence_probe_s=60, reply_s_max=10))
    exchange.muted = [2]
    with pytest.raises(FeedLost, match=r"subscription 2 \(trade\) is silent"):
        for _ in range(100):
            for _, command in exchange.run(exchange.now_s + 1):
                if command["params"]["sids"] == [2]:
                    exchange.reply(ErrorReply(7, "Unknown subscription ID"), command_id=command["id"])
    assert exchange.now_s < 90


def test_connection_without_markets_has_nothing_to_probe_and_rests() -> None:
    """All have left: the subscriptions are on and silent, and no probe could name a market."""
    conversation = Conversation(["A"], Pace(silence_probe_s=15, audit_interval_s=20))
    conversation.due(0.0, [])
    for sid, channel in enumerate(("orderbook_delta", "trade", "market_lifecycle_v2"), 1):
        conversation.note([ReplyFact(None, sid, SubscribedReply(channel, sid))], 0.0)
    conversation.follow([])
    for second in (1.0, 2.0):
        (command,) = (json.loads(text) for text in conversation.due(second, []))
        conversation.note([ReplyFact(command["params"]["sids"][0], command["id"], OkReply())], second)

    now_s = 2.0
    for _ in range(20):
        assert conversation.due(now_s, []) == []
        assert conversation.next_due_s([]) > now_s
        now_s = min(conversation.next_due_s([]), now_s + 60)
