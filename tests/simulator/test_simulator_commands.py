"""Every command and every error of one connection, without a socket."""

import json
import random
import typing

import pytest

from collector.simulator._books import LevelChange
from collector.simulator._exchange import ConnectionState
from collector.simulator._faults import Faults
from collector.simulator._markets import Audience, Floor, Market, Published
from collector.simulator._subscription import Subscription
from tests.simulator.exchange_client import delta_msg

Frame = dict[str, typing.Any]


class Desk:
    """A connection without a socket: keeps what it is handed."""

    def __init__(self, *faults: str, markets: int = 3, refusals_with_id: bool = False) -> None:
        audience = Audience()
        served = [Market(f"M-{n}", f"id-{n}", 100, 0, audience) for n in range(1, markets + 1)]
        for market in served:
            market.book.apply(LevelChange("yes", 4000, 700))
        self.floor = Floor(served, lambda _audience: None)
        in_force = Faults(faults, random.Random(1))
        self.state = ConnectionState(self.floor, self, in_force, refusals_with_id=refusals_with_id)
        self.delivered: list[Frame] = []

    def deliver(self, subscription: Subscription, kind: str, msg: bytes) -> None:
        self.delivered.append(json.loads(subscription.data_frame(kind, msg)))

    def release(self) -> None: ...

    def end(self, code: int, reason: str) -> None: ...

    async def wait_room(self) -> None: ...

    def ask(self, command: object) -> list[Frame]:
        text = command if isinstance(command, str) else json.dumps(command)
        frames = [answer.frame.decode() for answer in self.state.answer(text)]
        assert all(frame.endswith("}\n") for frame in frames)
        return [json.loads(frame) for frame in frames]

    def subscribe(
        self, *tickers: str, channels: tuple[str, ...] = ("orderbook_delta",), **more: object
    ) -> list[Frame]:
        params = {"channels": channels, "market_tickers": tickers, **more}
        return self.ask({"id": 1, "cmd": "subscribe", "params": params})

    def update(self, action: str, *tickers: str, sid: int = 1, command_id: int | None = 5) -> list[Frame]:
        params = {"sids": [sid], "market_tickers": tickers, "action": action}
        return self.ask({"id": command_id, "cmd": "update_subscription", "params": params})

    def publish(self, ticker: str) -> None:
        msg = delta_msg(ticker, "0.4000", "1.00").encode()
        self.floor.publish(Published("orderbook_delta", ticker, msg, LevelChange("yes", 4000, 100)))


def error(code: int, command_id: int | None = 1) -> tuple[int | None, str, int]:
    return (command_id, "error", code)


def shape(frame: Frame) -> tuple[int | None, str, int]:
    return (frame.get("id"), frame["type"], frame["msg"]["code"])


def test_subscribing_gives_an_acknowledgement_and_a_snapshot_for_each_market() -> None:
    """`subscribed` has no seq; the snapshots that follow count from 1."""
    frames = Desk().subscribe("M-1", "M-2")
    assert frames[0] == {"type": "subscribed", "id": 1, "msg": {"channel": "orderbook_delta", "sid": 1}}
    assert [(f["type"], f["sid"], f["seq"], f["msg"]["market_ticker"]) for f in frames[1:]] == [
        ("orderbook_snapshot", 1, 1, "M-1"),
        ("orderbook_snapshot", 1, 2, "M-2"),
    ]
    assert frames[1]["msg"]["yes_dollars_fp"] == [["0.4000", "7.00"]]


def test_sids_count_in_the_order_of_channels_and_each_channel_is_answered() -> None:
    """One command may succeed in part: two acknowledgements, and an error for each unknown channel."""
    frames = Desk().subscribe("M-1", channels=("orderbook_delta", "nonsense", "trade", "more"))
    assert [(f["type"], f.get("sid"), f["msg"].get("sid"), f["msg"].get("code")) for f in frames] == [
        ("subscribed", None, 1, None),
        ("orderbook_snapshot", 1, None, None),
        ("error", None, None, 8),
        ("subscribed", None, 2, None),
        ("error", None, None, 8),
    ]
    assert all(f.get("id") == 1 for f in frames if f["type"] != "orderbook_snapshot")


def test_subscribing_again_adds_to_the_same_sid() -> None:
    """A second subscribe answers `ok` with a seq and the full set; only new markets get a snapshot."""
    desk = Desk()
    desk.subscribe("M-1")
    ok, snapshot = desk.subscribe("M-1", "M-2")
    assert ok == {"id": 1, "sid": 1, "seq": 2, "type": "ok", "msg": {"market_tickers": ["M-1", "M-2"]}}
    assert (snapshot["seq"], snapshot["msg"]["market_ticker"]) == (3, "M-2")
    assert len(desk.state.subscriptions) == 1


def test_one_ticker_may_be_named_alone() -> None:
    """`market_ticker` does as well as `market_tickers`, and both at once is error 11."""
    desk = Desk()
    params = {"channels": ["orderbook_delta"], "market_ticker": "M-1"}
    assert len(desk.ask({"id": 1, "cmd": "subscribe", "params": params})) == 2
    both = {**params, "market_tickers": ["M-2"]}
    assert [shape(f) for f in desk.ask({"id": 1, "cmd": "subscribe", "params": both})] == [error(11)]


def test_changes_follow_in_the_same_series() -> None:
    """Deltas of all markets of a subscription count on from its snapshots; other markets are not heard."""
    desk = Desk()
    desk.subscribe("M-1", "M-2")
    for ticker in ("M-2", "M-3", "M-1"):
        desk.publish(ticker)
    assert [(f["seq"], f["msg"]["market_ticker"]) for f in desk.delivered] == [(3, "M-2"), (4, "M-1")]


def test_markets_are_added_and_deleted() -> None:
    """add_markets and delete_markets answer `ok` with the set as it is then; a deleted market is silent."""
    desk = Desk()
    desk.subscribe("M-1")
    ok, snapshot = desk.update("add_markets", "M-2", "M-1")
    assert (ok["seq"], ok["msg"]["market_tickers"]) == (2, ["M-1", "M-2"])
    assert snapshot["msg"]["market_ticker"] == "M-2"
    (ok,) = desk.update("delete_markets", "M-1")
    assert (ok["seq"], ok["msg"]["market_tickers"]) == (4, ["M-2"])
    desk.publish("M-1")
    assert desk.delivered == []


def test_a_requested_snapshot_carries_the_id_and_a_number() -> None:
    """get_snapshot answers for any market, subscribed or not, in the series, and adds nothing."""
    desk = Desk()
    desk.subscribe("M-1")
    frames = desk.update("get_snapshot", "M-1", "M-3", command_id=77)
    assert [(f["id"], f["sid"], f["seq"], f["msg"]["market_ticker"]) for f in frames] == [
        (77, 1, 2, "M-1"),
        (77, 1, 3, "M-3"),
    ]
    desk.publish("M-3")
    assert desk.delivered == []


def test_an_id_of_zero_counts_as_absent() -> None:
    """Replies to a command without an id, or with id 0, have none."""
    desk = Desk()
    desk.subscribe("M-1")
    for command_id in (0, None):
        assert all("id" not in frame for frame in desk.update("get_snapshot", "M-1", command_id=command_id))
        assert all("id" not in frame for frame in desk.update("add_markets", "M-2", command_id=command_id))


def test_the_list_of_markets_can_be_declined() -> None:
    """With skip_ticker_ack an `ok` lists no markets."""
    desk = Desk()
    desk.subscribe("M-1", skip_ticker_ack=True)
    assert desk.update("add_markets", "M-2")[0]["msg"] == {}


def test_the_yes_scale_can_be_asked_for() -> None:
    """With use_yes_price no-side prices are told on the yes scale, in snapshots and deltas."""
    desk = Desk()
    desk.floor.markets["M-1"].book.apply(LevelChange("no", 3000, 100))
    _, snapshot = desk.subscribe("M-1", use_yes_price=True)
    assert snapshot["msg"]["no_dollars_fp"] == [["0.7000", "1.00"]]
    msg = delta_msg("M-1", "0.3000", "1.00", "no").encode()
    desk.floor.publish(Published("orderbook_delta", "M-1", msg, LevelChange("no", 3000, 100)))
    assert desk.delivered[0]["msg"]["price_dollars"] == "0.7000"


def test_unsubscribing_ends_the_series_with_a_numbered_frame() -> None:
    """`unsubscribed` has the last number; an unknown sid is error 7; a new subscription gets a new sid."""
    desk = Desk()
    desk.subscribe("M-1")
    frames = desk.ask({"id": 9, "cmd": "unsubscribe", "params": {"sids": [1, 4]}})
    assert frames[0] == {"id": 9, "sid": 1, "seq": 2, "type": "unsubscribed"}
    assert shape(frames[1]) == error(7, 9)
    desk.publish("M-1")
    assert desk.delivered == []
    assert desk.subscribe("M-1")[0]["msg"]["sid"] == 2


def test_subscriptions_are_listed() -> None:
    """list_subscriptions answers with an array, without sid and seq."""
    desk = Desk()
    desk.subscribe("M-1", channels=("trade", "market_lifecycle_v2"))
    assert desk.ask({"id": 3, "cmd": "list_subscriptions"}) == [
        {
            "id": 3,
            "type": "ok",
            "msg": [{"channel": "trade", "sid": 1}, {"channel": "market_lifecycle_v2", "sid": 2}],
        }
    ]


@pytest.mark.parametrize("named", [True, False])
def test_trades_of_all_markets_can_be_had(named: bool) -> None:
    """A trade subscription that names no market hears every market, another only its own."""
    desk = Desk()
    params = {"channels": ["trade"], **({"market_tickers": ["M-1"]} if named else {})}
    desk.ask({"id": 1, "cmd": "subscribe", "params": params})
    for ticker in ("M-1", "M-2"):
        desk.floor.publish(Published("trade", ticker, b'{"market_ticker":"%b"}' % ticker.encode(), None))
    assert len(desk.delivered) == (1 if named else 2)


def test_the_lifecycle_has_no_filter() -> None:
    """A lifecycle event of any market reaches every subscriber of that channel, numbered."""
    desk = Desk()
    desk.subscribe("M-1", channels=("market_lifecycle_v2",))
    desk.floor.publish(Published("market_lifecycle_v2", "OTHER", b'{"market_ticker":"OTHER"}', None))
    assert [(f["type"], f["seq"]) for f in desk.delivered] == [("market_lifecycle_v2", 1)]


def test_an_unknown_market_is_accepted_and_silent() -> None:
    """Since error 16 is retired, an unknown ticker is subscribed without a snapshot."""
    assert [f["type"] for f in Desk().subscribe("NOWHERE")] == ["subscribed"]


SUBSCRIBED = {"channels": ["orderbook_delta"], "market_tickers": ["M-1"]}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("{", 1),
        ("[1]", 1),
        ({"id": "x", "cmd": "subscribe"}, 1),
        ({"id": 1, "cmd": "subscribe", "params": [1]}, 1),
        ({"id": 1, "cmd": "subscribe"}, 2),
        ({"id": 1, "cmd": "unsubscribe"}, 2),
        ({"id": 1, "cmd": "subscribe", "params": {}}, 3),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": []}}, 3),
        ({"id": 1, "cmd": "unsubscribe", "params": {}}, 4),
        ({"id": 1, "cmd": "dance", "params": {}}, 5),
        ({"id": 1}, 5),
        ({"id": 1, "cmd": "update_subscription", "params": {"sid": 9, "action": "add_markets"}}, 7),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["ticker_v2"]}}, 8),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": "trade"}}, 11),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["trade"], "market_tickers": [1]}}, 11),
        ({"id": 1, "cmd": "subscribe", "params": {**SUBSCRIBED, "skip_ticker_ack": "yes"}}, 11),
        ({"id": 1, "cmd": "unsubscribe", "params": {"sids": ["1"]}}, 11),
        ({"id": 1, "cmd": "update_subscription", "params": {"action": "add_markets"}}, 12),
        ({"id": 1, "cmd": "update_subscription", "params": {"sids": [1, 2], "action": "add_markets"}}, 12),
        ({"id": 1, "cmd": "update_subscription", "params": {"sid": 1, "sids": [1]}}, 12),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"]}}, 14),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["cfbenchmarks_value"]}}, 24),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["pyth_value"]}}, 28),
    ],
)
def test_errors_of_a_fresh_connection(command: object, code: int) -> None:
    """Each mistake is answered with its documented code, and with the id where there is one."""
    (frame,) = Desk().ask(command)
    assert frame["msg"]["code"] == code
    assert frame["type"] == "error"
    assert ("id" in frame) == (code != 1 or (isinstance(command, dict) and command["id"] == 1))


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"sid": 1, "market_tickers": ["M-2"]}, 15),
        ({"sid": 1, "market_tickers": ["M-2"], "action": "swap"}, 13),
        ({"sid": 2, "market_tickers": ["M-2"], "action": "get_snapshot"}, 13),
        ({"sid": 3, "market_tickers": ["M-2"], "action": "add_markets"}, 13),
        ({"sid": 1, "action": "add_markets"}, 14),
        ({"sid": 1, "market_ticker": "M-1", "action": "get_snapshot"}, 11),
    ],
)
def test_errors_of_an_update(params: dict[str, object], code: int) -> None:
    """Mistakes are answered with their documented codes; 13 and 14 name the sid, of older servers the id."""
    for older in (False, True):
        desk = Desk(refusals_with_id=older)
        desk.subscribe("M-1", channels=("orderbook_delta", "trade", "market_lifecycle_v2"))
        numbered = code in (13, 14) and not older
        (frame,) = desk.ask({"id": 1, "cmd": "update_subscription", "params": params})
        assert shape(frame) == error(code, None if numbered else 1)
        assert frame.get("sid") == (params["sid"] if numbered else None)


@pytest.mark.parametrize("older", [False, True])
def test_a_refusal_that_names_the_subscription_takes_a_number(older: bool) -> None:
    """The error has the next number of its `sid`, and data continue after it; an older server's has none."""
    desk = Desk(refusals_with_id=older)
    desk.subscribe("M-1")
    (refused,) = desk.update("get_snapshot")
    desk.publish("M-1")
    (delta,) = desk.delivered
    assert refused["msg"] == {"code": 14, "msg": "Market Ticker required"}
    if older:
        assert ("seq" in refused, delta["seq"]) == (False, 2)
    else:
        assert (refused["sid"], refused["seq"], delta["seq"]) == (1, 2, 3)


def test_too_many_markets_are_refused() -> None:
    """With a market limit a subscribe beyond it is error 26, and so is adding beyond it; nothing changes."""
    desk = Desk("market-limit=2")
    assert [shape(f) for f in desk.subscribe("M-1", "M-2", "M-3")] == [error(26)]
    assert len(desk.subscribe("M-1", "M-2")) == 3
    assert [shape(f) for f in desk.update("add_markets", "M-3")] == [error(26, 5)]
    assert list(desk.state.subscriptions[1].tickers or ()) == ["M-1", "M-2"]
