"""
One client connection, from the handshake to its end: the Trio shell round `ConnectionState` and `Wire`.

Tasks, all in the nursery of `run_session`: the library's reader, the writer, the pings, the reader of
commands and, if a fault asks for it, the cutter. Whoever finds that the connection is over calls `end`; the
session's own task then closes it and cancels the others. Every frame passes `deliver` or `_send_answer`,
and there the faults strike.
"""

import collections
import email.utils
import math

import attrs
import trio
import trio_websocket

from collector.clock import WallClock
from collector.exchange import SIMULATED_HEADER
from collector.simulator._access import AccessKey, Refusal, refused_with
from collector.simulator._alterations import alter
from collector.simulator._exchange import Answer, ConnectionState, error_reply, read_command
from collector.simulator._exchange_clock import ExchangeClock
from collector.simulator._faults import TERMINAL_CODES, Faults, Stroke
from collector.simulator._markets import Floor
from collector.simulator._outgoing import Wire
from collector.simulator._sent_log import Account
from collector.simulator._subscription import Subscription, with_sending_time

# A client gets this long for its handshake, and as long for taking a refusal.
HANDSHAKE_S_MAX = 10.0
# What is on its way may take this long to go out when we end a connection, and the goodbye as long again.
FLUSH_S_MAX = 5.0
GOODBYE_S_MAX = 2.0
# The exchange's own limit, in both directions.
MESSAGE_BYTES_MAX = 64 * 2**20
RECEIVE_BYTES = 64 * 2**10
# Commands are few, and each is answered before the next is read.
COMMANDS_WAITING_MAX = 16
# An answer of many snapshots is sent in steps of this many frames, so that nobody waits long.
ANSWERS_PER_STEP = 64
HEARTBEAT = b"heartbeat"
# A fault is looked for this often when it is due by time.
CUT_POLL_S = 0.1


@attrs.frozen
class SessionSettings:
    """What all sessions of a simulator share."""

    # More than this on its way to a client is error 25; None is no bound, for who waits for room instead.
    buffer_bytes_max: int | None
    ping_interval_s: float = 10.0
    # Each frame has the time at which it is sent, as the exchange's frames do since October 2026.
    sends_times: bool = False
    # A refused update_subscription is answered with the command's id, as by older servers.
    refusals_with_id: bool = False


@attrs.frozen
class House:
    """What a session needs of the simulator round it."""

    floor: Floor
    faults: Faults
    access: AccessKey
    account: Account
    clock: WallClock
    exchange_clock: ExchangeClock
    settings: SessionSettings


class Session:
    """One admitted or refused client. Owned by the task that runs it; players call it between checkpoints."""

    def __init__(self, house: House, transport: trio.SocketStream, connection: int) -> None:
        self.connection = connection
        self._house = house
        self._faults = house.faults
        self._buffer_bytes_max = house.settings.buffer_bytes_max
        self._wire = Wire(transport, connection, house.account)
        self._state = ConnectionState(
            house.floor, self, house.faults, refusals_with_id=house.settings.refusals_with_id
        )
        self._over = trio.Event()
        # None is an end without a goodbye.
        self._goodbye: tuple[int, str] | None = None
        self._commands = 0
        self._command_times: collections.deque[float] = collections.deque()

    # What players and the server ask of a connection.

    def deliver(self, subscription: Subscription, kind: str, msg: bytes) -> None:
        """Number one message and send it on its way."""
        self._send_data(subscription, self._stamp(subscription.data_frame(kind, msg)))

    def release(self) -> None:
        """Send what a fault has held back."""
        for subscription in self._state.subscriptions.values():
            self._post_held(subscription)

    def end(self, code: int, reason: str) -> None:
        """End the connection as a server does that goes away, after what is already on its way."""
        self.release()
        self._goodbye = (code, reason)
        self._finish()

    def cut(self) -> None:
        """End the connection as a broken line does, after what is already on its way."""
        self._wire.post_end()
        self._finish()

    def _finish(self) -> None:
        self._state.drop_all()
        self._over.set()

    async def wait_room(self) -> None:
        """Wait until the client has taken most of what is on its way, or is gone."""
        await self._wire.wait_room()

    async def wait_flushed(self) -> None:
        """Wait until everything is sent, or the client is gone."""
        await self._wire.wait_flushed()

    # Frames on their way out.

    def _stamp(self, frame: bytes) -> bytes:
        """Add the time of now. Faults come after this: a frame that is sent twice has one time."""
        if not self._house.settings.sends_times:
            return frame
        return with_sending_time(frame, self._house.clock() // 1000)

    def _send_data(self, subscription: Subscription, frame: bytes) -> None:
        if self._faults.any_on_frames:
            self._send_with_faults(subscription, frame)
        else:
            self._post(subscription, frame)

    def _send_with_faults(self, subscription: Subscription, frame: bytes) -> None:
        strokes = self._faults.strokes(subscription.channel, subscription.data_count)
        acts = {stroke.act for stroke in strokes}
        if "mute" in acts:
            subscription.muted = True
        frame = alter(frame, acts, subscription.snapshot_clocks)
        if "garble" in acts:
            frame = self._faults.garble(frame)
        if "reorder" in acts and "drop" not in acts and subscription.held is None:
            subscription.held = frame
        elif "drop" not in acts:
            self._post(subscription, frame)
        if "duplicate" in acts and "drop" not in acts:
            self._post(subscription, frame)
        for stroke in strokes:
            self._strike_after(subscription, stroke)

    def _strike_after(self, subscription: Subscription, stroke: Stroke) -> None:
        """Carry out the part of a fault that follows its frame."""
        match stroke.act:
            case "silent":
                self._wire.post_silence()
            case "error" if stroke.code in TERMINAL_CODES:
                self._end_subscription(subscription, stroke.code)
            case "unknown-error":
                self._post(subscription, self._stamp(subscription.error_frame(stroke.code)))
            case "restart-seq":
                subscription.seq = 0
            case "lower-clock":
                self._house.exchange_clock.lower()
            case "cut":
                self.cut()
            case _:
                pass

    def _post(self, subscription: Subscription, frame: bytes) -> None:
        if subscription.muted:
            return
        bound = self._buffer_bytes_max
        if bound is not None and self._wire.queued_bytes + len(frame) > bound:
            self._end_subscription(subscription, 25)
            return
        self._wire.post(frame)
        if subscription.held is not None and subscription.held is not frame:
            self._post_held(subscription)

    def _post_held(self, subscription: Subscription) -> None:
        held, subscription.held = subscription.held, None
        if held is not None and not subscription.muted:
            self._wire.post(held)

    def _end_subscription(self, subscription: Subscription, code: int) -> None:
        """Errors 10 and 25 end a subscription; the connection stays up."""
        if self._state.subscriptions.get(subscription.sid) is subscription:
            self._state.drop(subscription)
            if not subscription.muted:
                self._post_held(subscription)
                self._wire.post(self._stamp(subscription.error_frame(code)))

    def _send_answer(self, answer: Answer) -> None:
        frame = self._stamp(answer.frame)
        if answer.of is None:
            self._wire.post(frame)
        elif answer.data:
            self._send_data(answer.of, frame)
        else:
            self._post(answer.of, frame)

    # Tasks.

    async def run_pings(self) -> None:
        """Ping for as long as the connection lives; a client's pongs need no answer."""
        while True:
            await trio.sleep(self._house.settings.ping_interval_s)
            self._wire.post_ping(HEARTBEAT)

    async def run_cutter(self) -> None:
        """Cut the connection when a fault says that its time has come."""
        began_s = trio.current_time()
        while True:
            await trio.sleep(CUT_POLL_S)
            period_s = self._faults.cut_every_s()
            if period_s is not None and trio.current_time() - began_s >= period_s:
                self.cut()
                return

    async def read_commands(self, ws: trio_websocket.WebSocketConnection) -> None:
        """Answer one command after the other, until the client is gone."""
        try:
            while True:
                await self._answer(await ws.get_message())
        except trio_websocket.ConnectionClosed:
            self._finish()

    async def _answer(self, text: str | bytes) -> None:
        if self._over.is_set():
            return
        code = self._command_error()
        if code is not None:
            command_id, _ = read_command(text)
            self._wire.post(self._stamp(error_reply(command_id, code)))
            return
        floor = self._house.floor
        floor.commands_in_hand += 1
        try:
            for number, answer in enumerate(self._state.answer(text), 1):
                self._send_answer(answer)
                if number % ANSWERS_PER_STEP == 0:
                    await trio.lowlevel.checkpoint()
                # Whoever is going hears no more: a market that it joined now would play to nobody.
                if self._over.is_set():
                    break
        finally:
            floor.commands_in_hand -= 1
            floor.commanded_at_s = trio.current_time()

    def _command_error(self) -> int | None:
        now_s = trio.current_time()
        self._commands += 1
        self._command_times.append(now_s)
        while self._command_times[0] < now_s - 1.0:
            self._command_times.popleft()
        return self._faults.command_error(self._commands, len(self._command_times))

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wire.run_writer, name=f"simulator:{self.connection}:writer")
                ws = await self._shake_hands(nursery)
                if ws is not None:
                    nursery.start_soon(self.run_pings, name=f"simulator:{self.connection}:pings")
                    nursery.start_soon(self.run_cutter, name=f"simulator:{self.connection}:cutter")
                    nursery.start_soon(self.read_commands, ws, name=f"simulator:{self.connection}:commands")
                    await self._over.wait()
                    await self._say_goodbye(ws)
                nursery.cancel_scope.cancel(reason="the connection is over")
        except* trio_websocket.ConnectionClosed:
            # The library's reader answers a breach of the protocol on a line that is gone already.
            pass
        finally:
            self._state.drop_all()
            await trio.aclose_forcefully(self._wire)

    async def _say_goodbye(self, ws: trio_websocket.WebSocketConnection) -> None:
        with trio.move_on_after(FLUSH_S_MAX):
            await self._wire.wait_flushed()
        if self._goodbye is not None:
            code, reason = self._goodbye
            with trio.move_on_after(GOODBYE_S_MAX):
                await ws.aclose(code=code, reason=reason)

    async def _shake_hands(self, nursery: trio.Nursery) -> trio_websocket.WebSocketConnection | None:
        """Return the connection, or None when there is none: refused, too slow, or no WebSocket at all."""
        with trio.move_on_after(HANDSHAKE_S_MAX):
            try:
                request = await trio_websocket.wrap_server_stream(
                    nursery,
                    self._wire,
                    message_queue_size=COMMANDS_WAITING_MAX,
                    max_message_size=MESSAGE_BYTES_MAX,
                    receive_buffer_size=RECEIVE_BYTES,
                )
                refusal = self._refusal(request)
                date = self._date_header()
                if refusal is None:
                    return await request.accept(extra_headers=[date, (SIMULATED_HEADER, b"yes")])
                headers = [(b"Content-Type", b"application/json"), date]
                await request.reject(refusal.status, extra_headers=headers, body=refusal.body)
            except trio_websocket.ConnectionClosed:
                pass
        return None

    def _refusal(self, request: trio_websocket.WebSocketRequest) -> Refusal | None:
        status = self._faults.refusal()
        if status is not None:
            return refused_with(status)
        return self._house.access.refusal(request.path, request.headers, self._house.clock() // 1000)

    def _date_header(self) -> tuple[bytes, bytes]:
        date = email.utils.formatdate(math.floor(self._house.clock() / 1e6), usegmt=True)
        return (b"Date", date.encode())
