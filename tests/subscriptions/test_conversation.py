"""What is said to the exchange, and when."""

import json
from typing import Any

import pytest

from collector.errors import FeedLost, MarketLimitExceeded
from collector.facts import ReplyFact, SnapshotFact
from collector.protocol import ErrorReply, Message, OkReply, SubscribedReply, UnsubscribedReply
from collector.subscriptions import Conversation, Pace

PACE = Pace(
    reply_s_max=10, subscribe_tries_max=3, snapshot_interval_s=1, snapshot_markets_max=2, back_off_s=5
)


def due(conversation: Conversation, now_s: float, *lost: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in conversation.due(now_s, lost)]


def reply(
    conversation: Conversation,
    message: Message,
    *,
    now_s: float = 0.0,
    sid: int | None = None,
    command_id: int | None = None,
) -> None:
    conversation.note([ReplyFact(sid, command_id, message)], now_s)


def subscribed() -> Conversation:
    """A conversation whose channels are acknowledged."""
    conversation = Conversation(["A", "B", "C"], PACE)
    conversation.due(0.0, [])
    reply(conversation, SubscribedReply("orderbook_delta", 1), command_id=1)
    reply(conversation, SubscribedReply("trade", 2), command_id=2)
    reply(conversation, SubscribedReply("market_lifecycle_v2", 3), command_id=3)
    return conversation


def test_each_channel_is_subscribed_once_with_explicit_flags() -> None:
    """
    Books and trades of all markets, and the lifecycle, which takes no list; the flag whose default will
    change is sent; then nothing more.
    """
    conversation = Conversation(["A", "B"], PACE)

    books, trades, lifecycle = due(conversation, 0.0)

    assert books == {
        "id": 1,
        "cmd": "subscribe",
        "params": {
            "channels": ["orderbook_delta"],
            "market_tickers": ["A", "B"],
            "skip_ticker_ack": True,
            "use_yes_price": False,
        },
    }
    assert trades["params"]["channels"] == ["trade"]
    assert lifecycle["params"] == {"channels": ["market_lifecycle_v2"], "skip_ticker_ack": True}
    assert due(conversation, 5.0) == []


def test_unanswered_subscribe_is_repeated_and_then_given_up() -> None:
    """A subscription that is accepted in silence does not go unnoticed."""
    conversation = Conversation(["A"], PACE)

    assert len(due(conversation, 0.0)) == 3
    assert len(due(conversation, 10.0)) == 3
    assert len(due(conversation, 20.0)) == 3
    with pytest.raises(FeedLost, match="no answer to 3 subscribe commands"):
        conversation.due(30.0, [])


def test_lost_books_are_asked_for_at_a_bounded_rate() -> None:
    """So many markets in a command, one command in an interval, and again when no answer came."""
    conversation = subscribed()

    (first,) = due(conversation, 1.0, "A", "B", "C")
    assert first["params"] == {"sids": [1], "market_tickers": ["A", "B"], "action": "get_snapshot"}
    assert due(conversation, 1.5, "A", "B", "C") == []
    assert conversation.next_due_s(["A", "B", "C"]) == 2.0
    (second,) = due(conversation, 2.0, "A", "B", "C")
    assert second["params"]["market_tickers"] == ["C"]
    assert due(conversation, 5.0, "A", "B", "C") == []
    (again,) = due(conversation, 11.0, "A", "B", "C")
    assert again["params"]["market_tickers"] == ["A", "B"]


def test_book_lost_again_right_after_its_answer_is_asked_for_again() -> None:
    """An answer that has come does not count as one that is still awaited."""
    conversation = subscribed()
    assert len(due(conversation, 1.0, "A")) == 1
    conversation.note([SnapshotFact("A", 5, 0, "requested", {}, {}, b"", sid=1, frame_number=1)], 1.5)

    assert len(due(conversation, 2.0, "A")) == 1


def test_ended_subscription_is_subscribed_again_at_once() -> None:
    """Errors 10 and 25 end one subscription; only its channel is subscribed again."""
    conversation = subscribed()

    reply(conversation, ErrorReply(25, "Subscription buffer overflow"), sid=1, now_s=7.0)

    (command,) = due(conversation, 7.0)
    assert command["params"]["channels"] == ["orderbook_delta"]


def test_end_that_names_no_subscription_ends_the_connection() -> None:
    """Which books are dead can't be told, so all of them begin anew."""
    with pytest.raises(FeedLost, match="error 10"):
        reply(subscribed(), ErrorReply(10, "Channel error"))


def test_too_many_requests_waits_before_it_repeats() -> None:
    """Error 27 to a subscribe holds it back; it does not count as a failed try."""
    conversation = Conversation(["A"], PACE)
    command, _, _ = due(conversation, 0.0)
    reply(conversation, SubscribedReply("trade", 2), command_id=2)
    reply(conversation, SubscribedReply("market_lifecycle_v2", 3), command_id=3)
    for now_s in (0.0, 5.0, 10.0, 15.0):
        error = ErrorReply(27, "Too many requests")
        reply(conversation, error, command_id=command["id"], now_s=now_s)
        assert due(conversation, now_s + 4.9) == []
        (command,) = due(conversation, now_s + 5.0)
        assert command["params"]["channels"] == ["orderbook_delta"]


def test_command_timeout_repeats_soon() -> None:
    """Error 18 says that the command was not carried out: it is said again, but not in a circle."""
    conversation = Conversation(["A"], PACE)
    conversation.due(0.0, [])

    reply(conversation, ErrorReply(18, "Command timeout"), command_id=1, now_s=3.0)

    assert due(conversation, 3.4) == []
    (command,) = due(conversation, 3.5)
    assert command["params"]["channels"] == ["orderbook_delta"]


def test_subscriptions_that_end_as_they_begin_are_not_asked_for_in_a_circle() -> None:
    """The first end is answered at once, one that follows it closely after a pause."""
    conversation = subscribed()
    reply(conversation, ErrorReply(25, "overflow"), sid=1, now_s=7.0)
    assert len(due(conversation, 7.0)) == 1
    reply(conversation, SubscribedReply("orderbook_delta", 4), now_s=7.0)
    reply(conversation, ErrorReply(25, "overflow"), sid=4, now_s=7.1)

    assert due(conversation, 7.1) == []
    assert len(due(conversation, 7.6)) == 1


def test_ok_is_an_acknowledgement_too() -> None:
    """Should the exchange answer a subscribe with `ok` and a sid, that is the subscription's."""
    conversation = Conversation(["A"], PACE)
    conversation.due(0.0, [])
    reply(conversation, OkReply(), command_id=1, sid=4)
    reply(conversation, SubscribedReply("trade", 2), command_id=2)
    reply(conversation, SubscribedReply("market_lifecycle_v2", 3), command_id=3)

    assert conversation.is_subscribed
    assert conversation.open_sids == {2, 3, 4}


def test_end_that_nobody_asked_for_is_subscribed_again() -> None:
    """An `unsubscribed` that is not our doing is a subscription lost like any other."""
    conversation = subscribed()
    reply(conversation, UnsubscribedReply(), sid=1, now_s=9.0)

    (command,) = due(conversation, 9.0)
    assert command["params"]["channels"] == ["orderbook_delta"]


def test_one_refused_market_does_not_starve_the_others() -> None:
    """When a get_snapshot is refused, fewer are asked for at once, until the one is found."""
    pace = Pace(snapshot_interval_s=1, snapshot_markets_max=4, refused_s=300)
    tickers = [f"M{n}" for n in range(8)]
    conversation = Conversation(tickers, pace)
    conversation.due(0.0, [])
    reply(conversation, SubscribedReply("orderbook_delta", 1), command_id=1)
    reply(conversation, SubscribedReply("trade", 2), command_id=2)
    reply(conversation, SubscribedReply("market_lifecycle_v2", 3), command_id=3)
    lost, asked_for_it = set(tickers), 0

    for now_s in range(1, 100):
        for command in due(conversation, float(now_s), *sorted(lost)):
            asked = command["params"]["market_tickers"]
            if "M2" in asked:
                asked_for_it += 1
                reply(
                    conversation, ErrorReply(11, "Invalid parameter"), command_id=command["id"], now_s=now_s
                )
            else:
                lost -= set(asked)
                conversation.note(
                    [
                        SnapshotFact(ticker, 5, 0, "requested", {}, {}, b"", sid=1, frame_number=1)
                        for ticker in asked
                    ],
                    now_s,
                )

    assert lost == {"M2"}
    assert asked_for_it <= 6


@pytest.mark.parametrize(
    ("refused", "other"), [("trade", "market_lifecycle_v2"), ("market_lifecycle_v2", "trade")]
)
def test_a_refused_channel_does_not_cost_the_others(refused: str, other: str) -> None:
    """An exchange without that channel is recorded all the same, and asked for it again now and then."""
    conversation = Conversation(["A"], PACE)
    ids = {command["params"]["channels"][0]: command["id"] for command in due(conversation, 0.0)}
    reply(conversation, SubscribedReply("orderbook_delta", 1), command_id=ids["orderbook_delta"])
    reply(conversation, SubscribedReply(other, 2), command_id=ids[other])
    reply(conversation, ErrorReply(8, "Unknown channel name"), command_id=ids[refused], now_s=1.0)

    assert conversation.is_subscribed
    assert due(conversation, 200.0) == []
    (command,) = due(conversation, 302.0)
    assert command["params"]["channels"] == [refused]


def test_refused_books_end_the_connection_with_the_reason() -> None:
    """What the exchange says against the subscription of books is what the operator gets to read."""
    conversation = Conversation(["A"], PACE)
    conversation.due(0.0, [])
    with pytest.raises(FeedLost, match="error 14 to the subscription of books: as it says"):
        reply(conversation, ErrorReply(14, "as it says"), command_id=1)


def test_market_limit_is_for_the_supervisor() -> None:
    """Error 26 can't be answered on this connection."""
    with pytest.raises(MarketLimitExceeded, match="3 markets are too many"):
        reply(subscribed(), ErrorReply(26, "Subscription market limit exceeded"), command_id=1)


def test_other_errors_are_counted_and_survived() -> None:
    """An error that concerns nothing of ours changes nothing."""
    conversation = subscribed()

    reply(conversation, ErrorReply(8, "Unknown channel name"), command_id=1)

    assert conversation.error_counts == {8: 1}
    assert due(conversation, 100.0) == []


def test_orderly_end_names_all_subscriptions_and_waits_for_each() -> None:
    """Unsubscribed channels are not subscribed again."""
    conversation = subscribed()

    conversation.leave()
    (command,) = due(conversation, 0.0)
    assert (command["cmd"], command["params"]) == ("unsubscribe", {"sids": [1, 2, 3]})
    assert due(conversation, 0.0) == []
    reply(conversation, UnsubscribedReply(), sid=1)
    assert conversation.open_sids == {2, 3}
    reply(conversation, UnsubscribedReply(), sid=2)
    reply(conversation, UnsubscribedReply(), sid=3)

    assert conversation.has_left
    assert due(conversation, 1000.0) == []


def test_orderly_end_in_the_middle_of_subscribing() -> None:
    """A subscription that is acknowledged only after the goodbye has begun is ended too, and waited for."""
    conversation = Conversation(["A"])
    left: list[bool] = []
    left.append(conversation.has_left)
    assert [command["cmd"] for command in due(conversation, 0.0)] == ["subscribe"] * 3
    reply(conversation, SubscribedReply("orderbook_delta", 1), command_id=1)

    conversation.leave()
    assert [command["params"] for command in due(conversation, 0.0)] == [{"sids": [1]}]
    reply(conversation, UnsubscribedReply(), sid=1)
    left.append(conversation.has_left)
    reply(conversation, SubscribedReply("trade", 2), command_id=2)
    assert [command["params"] for command in due(conversation, 0.0)] == [{"sids": [2]}]
    reply(conversation, UnsubscribedReply(), sid=2)
    left.append(conversation.has_left)
    reply(conversation, ErrorReply(8, "Unknown channel name"), command_id=3)
    left.append(conversation.has_left)

    assert left == [True, False, False, True]


def test_markets_that_join_and_leave_change_both_subscriptions_one_command_after_the_other() -> None:
    """
    Taken out first, so that no limit is passed on the way, then added; at the pace of all updates, and each
    once the one before is answered.
    """
    conversation = subscribed()
    conversation.follow(["B", "C", "D"])

    said: list[tuple[str, int, list[str]]] = []
    for second in range(1, 7):
        for command in due(conversation, float(second)):
            params = command["params"]
            said.append((params["action"], params["sids"][0], params["market_tickers"]))
            reply(conversation, OkReply(), now_s=second, sid=params["sids"][0], command_id=command["id"])

    assert said == [
        ("delete_markets", 1, ["A"]),
        ("add_markets", 1, ["D"]),
        ("delete_markets", 2, ["A"]),
        ("add_markets", 2, ["D"]),
    ]


def test_market_is_not_taken_out_while_a_snapshot_of_it_is_on_its_way() -> None:
    """An answer behind the end would pass for a book that is followed."""
    conversation = subscribed()
    assert due(conversation, 1.0, "A")[0]["params"]["action"] == "get_snapshot"
    conversation.follow(["B", "C"])

    (command,) = due(conversation, 2.0)
    assert (command["params"]["action"], command["params"]["sids"]) == ("delete_markets", [2])
    assert due(conversation, 3.0) == []

    conversation.note([SnapshotFact("A", 9, 0, "requested", {}, {}, b"", sid=1, frame_number=1)], 3.5)
    (command,) = due(conversation, 4.0)
    assert (command["params"]["action"], command["params"]["sids"]) == ("delete_markets", [1])


def test_change_without_an_answer_is_said_again_and_a_refused_one_rarely() -> None:
    conversation = subscribed()
    conversation.follow(["A", "B", "C", "D"])
    (first,) = due(conversation, 1.0)
    (trade,) = due(conversation, 2.0)
    reply(conversation, OkReply(), now_s=2.0, sid=2, command_id=trade["id"])

    assert due(conversation, 10.0) == []
    (again,) = due(conversation, 11.0)
    assert again["params"] == first["params"]
    reply(conversation, ErrorReply(11, "Invalid parameter"), now_s=11.0, command_id=again["id"])

    assert due(conversation, 300.0) == []
    assert due(conversation, 311.0)[0]["params"] == first["params"]


def test_too_many_markets_for_a_subscription_that_is_on_are_split_too() -> None:
    conversation = subscribed()
    conversation.follow(["A", "B", "C", "D"])
    (command,) = due(conversation, 1.0)

    with pytest.raises(MarketLimitExceeded, match="4 markets are too many"):
        reply(conversation, ErrorReply(26, "limit"), now_s=1.0, command_id=command["id"])


def test_channel_that_wants_markets_waits_for_the_first_one() -> None:
    """There may be nothing to record yet, and an empty subscription is an error."""
    conversation = Conversation([], PACE, is_listing=True)
    assert [command["params"]["channels"] for command in due(conversation, 0.0)] == [["market_lifecycle_v2"]]

    conversation.follow(["A"])
    books, trades = due(conversation, 1.0)

    assert books["params"]["market_tickers"] == trades["params"]["market_tickers"] == ["A"]
    assert books["params"]["skip_ticker_ack"] is False


def test_books_of_markets_that_are_not_followed_any_more_are_not_asked_for() -> None:
    conversation = subscribed()
    conversation.follow(["B", "C"])
    for second in (1.0, 2.0):
        (command,) = due(conversation, second, "A")
        assert command["params"]["action"] == "delete_markets"
        sid = command["params"]["sids"][0]
        reply(conversation, OkReply(), now_s=second, sid=sid, command_id=command["id"])

    assert due(conversation, 3.0, "A") == []
    assert conversation.next_due_s(["A"]) == float("inf")


def changes_of(
    conversation: Conversation, first_s: int, last_s: int, refused: str
) -> list[tuple[str, list[str]]]:
    """What is said of the books in a time; commands with the `refused` market are answered with an error."""
    said: list[tuple[str, list[str]]] = []
    for second in range(first_s, last_s):
        for command in due(conversation, float(second)):
            params = command["params"]
            sid, tickers = params["sids"][0], params["market_tickers"]
            answer: Message = ErrorReply(11, "Invalid parameter") if refused in tickers else OkReply()
            reply(conversation, answer, now_s=second, sid=sid, command_id=command["id"])
            if sid == 1:
                said.append((params["action"], tickers))
    return said


def test_market_that_the_exchange_refuses_keeps_no_other_from_joining() -> None:
    """The command is halved until the market stands alone, which is tried again rarely."""
    conversation = subscribed()
    conversation.follow(["A", "B", "C", "BAD", "D", "E"])

    said = changes_of(conversation, 1, 60, "BAD")

    assert [tickers for _, tickers in said] == [["BAD", "D", "E"], ["BAD"], ["D", "E"]]
    assert conversation.is_subscribed
    assert changes_of(conversation, 60, 300, "BAD") == []
    assert changes_of(conversation, 300, 320, "BAD") == [("add_markets", ["BAD"])]


def test_list_of_the_exchange_is_believed_over_what_was_asked() -> None:
    """A market that is not listed is asked for again rarely, one that was dropped unasked at once."""
    conversation = subscribed()
    conversation.follow(["A", "B", "C", "D"])
    (command,) = due(conversation, 1.0)
    listed = OkReply(frozenset({"A", "B"}))
    reply(conversation, listed, now_s=1.0, sid=1, command_id=command["id"])

    said = [command for second in range(2, 10) for command in due(conversation, float(second))]
    of_books = [command["params"] for command in said if command["params"]["sids"] == [1]]

    assert [(params["action"], params["market_tickers"]) for params in of_books] == [("add_markets", ["C"])]


def test_only_markets_that_a_subscription_carries_are_probed() -> None:
    """The answer for another one would pass for a book that is followed."""
    conversation = Conversation(["A"], Pace(silence_probe_s=15))
    conversation.due(0.0, [])
    for sid, channel in enumerate(("orderbook_delta", "trade", "market_lifecycle_v2"), 1):
        reply(conversation, SubscribedReply(channel, sid), command_id=sid)
    conversation.follow(["X"])

    (command,) = due(conversation, 100.0)

    assert (command["params"]["action"], command["params"]["market_tickers"]) == ("delete_markets", ["A"])


def test_book_of_a_market_that_has_not_joined_yet_is_not_asked_for() -> None:
    """It may be known by its trades already; nothing would follow such a book."""
    conversation = subscribed()
    conversation.follow(["A", "B", "C", "D"])
    (joining,) = due(conversation, 1.0, "D")
    assert joining["params"]["action"] == "add_markets"
    (trades,) = due(conversation, 2.0, "D")
    assert (trades["params"]["action"], trades["params"]["sids"]) == ("add_markets", [2])
    assert due(conversation, 3.0, "D") == []

    reply(conversation, OkReply(), now_s=3.0, sid=1, command_id=joining["id"])

    assert due(conversation, 4.0, "D")[0]["params"]["action"] == "get_snapshot"
