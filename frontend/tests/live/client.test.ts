// The live connection, with a fake WebSocket and fake timers.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LiveClient } from "../../src/live/client";
import type { LiveMessage } from "../../src/protocol/messages";
import { makeDelta, makeStats } from "../samples";
import { FakeSocket } from "./fake-socket";

const stats: LiveMessage = { type: "stats", data: makeStats() };
const delta: LiveMessage = { type: "orderbook_delta", data: makeDelta() };

let received: LiveMessage[] = [];
let random = 0.5;

function makeClient(): LiveClient {
  return new LiveClient({
    openSocket: () => new FakeSocket(),
    now: () => performance.now(),
    random: () => random,
    onMessage: (message) => received.push(message),
  });
}

function startOpen(): LiveClient {
  const client = makeClient();
  client.start();
  FakeSocket.newest.open();
  FakeSocket.newest.send(stats);
  return client;
}

/** Let time pass with a message each second, as the collector sends them. */
function liveFor(seconds: number): void {
  for (let second = 0; second < seconds; second += 1) {
    vi.advanceTimersByTime(1_000);
    FakeSocket.newest.send(stats);
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  received = [];
  random = 0.5;
});

afterEach(() => {
  vi.useRealTimers();
});

describe("connecting", () => {
  it("begins at once", () => {
    const client = makeClient();
    client.start();
    expect(FakeSocket.all).toHaveLength(1);
    expect(client.link.phase).toBe("connecting");
  });

  it("passes on what comes, and counts what it does not understand", () => {
    const client = startOpen();
    FakeSocket.newest.send({ type: "weather", data: {} });
    FakeSocket.newest.onmessage?.({ data: "not JSON" });
    expect(received).toEqual([stats]);
    expect(client.ignored).toBe(2);
    expect(client.link).toMatchObject({ phase: "open", isStale: false, opens: 1 });
  });

  it("says so when no connection can be made within two seconds", () => {
    const client = makeClient();
    client.start();
    vi.advanceTimersByTime(2_000);
    expect(client.link.isStale).toBe(true);
  });
});

describe("a lost connection", () => {
  it("is made again after the wait, and everything is stale meanwhile", () => {
    const client = startOpen();
    FakeSocket.newest.end();
    expect(client.link).toMatchObject({ phase: "waiting", isStale: true, attempts: 1 });
    vi.advanceTimersByTime(249);
    expect(FakeSocket.all).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.all).toHaveLength(2);
    FakeSocket.newest.open();
    FakeSocket.newest.send({ type: "connection", data: { markets: [], status: "connected", version: "1.0.0" } });
    FakeSocket.newest.send(delta);
    expect(client.link).toMatchObject({ phase: "open", isStale: true, opens: 2 });
    FakeSocket.newest.send(stats);
    expect(client.link.isStale).toBe(false);
  });

  it("waits longer with each failed attempt", () => {
    const client = startOpen();
    FakeSocket.newest.end();
    vi.advanceTimersByTime(250);
    FakeSocket.newest.end();
    vi.advanceTimersByTime(499);
    expect(FakeSocket.all).toHaveLength(2);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.all).toHaveLength(3);
    expect(client.link.attempts).toBe(2);
  });

  it("begins with the shortest wait again after a connection that lasted 30 seconds", () => {
    const client = startOpen();
    FakeSocket.newest.end();
    vi.advanceTimersByTime(250);
    FakeSocket.newest.open();
    FakeSocket.newest.send(stats);
    liveFor(30);
    FakeSocket.newest.end();
    expect(client.link.attempts).toBe(1);
  });

  it("keeps the longer waits after one that did not last", () => {
    const client = startOpen();
    liveFor(29);
    FakeSocket.newest.end();
    vi.advanceTimersByTime(250);
    FakeSocket.newest.open();
    FakeSocket.newest.end();
    expect(client.link.attempts).toBe(2);
  });

  it("can be tried again at once by hand", () => {
    const client = startOpen();
    FakeSocket.newest.end();
    client.retryNow();
    expect(FakeSocket.all).toHaveLength(2);
    vi.advanceTimersByTime(1_000);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("does not listen to a socket that it has given up", () => {
    const client = startOpen();
    const [old] = FakeSocket.all;
    client.stop();
    old?.send(stats);
    expect(received).toHaveLength(1);
  });
});

describe("why the collector closed", () => {
  it("going away: says so, and comes back as soon as usual", () => {
    const client = startOpen();
    FakeSocket.newest.end(1001, "the service stops");
    expect(client.link.reason).toContain("stopping or restarting");
    vi.advanceTimersByTime(250);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("too many clients: waits at least 15 seconds", () => {
    random = 0;
    const client = startOpen();
    FakeSocket.newest.end(1013, "too many clients: try again later");
    expect(client.link.reason).toContain("as many viewers as it takes");
    vi.advanceTimersByTime(14_999);
    expect(FakeSocket.all).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("policy: repeats the collector's words, and waits long", () => {
    random = 0;
    const client = startOpen();
    FakeSocket.newest.send({ type: "error", data: { message: "unknown stream: x" } });
    FakeSocket.newest.end(1008);
    expect(client.link.reason).toContain("unknown stream: x");
    vi.advanceTimersByTime(14_999);
    expect(FakeSocket.all).toHaveLength(1);
  });

  it("is forgotten with the next message", () => {
    const client = startOpen();
    FakeSocket.newest.end(1001);
    vi.advanceTimersByTime(250);
    FakeSocket.newest.open();
    FakeSocket.newest.send(stats);
    expect(client.link.reason).toBe("");
  });
});

describe("statistics that have stopped", () => {
  it("make everything stale after two seconds, though books go on", () => {
    const client = startOpen();
    liveFor(3);
    for (let tenths = 0; tenths < 19; tenths += 1) {
      vi.advanceTimersByTime(100);
      FakeSocket.newest.send(delta);
    }
    expect(client.link.isStale).toBe(false);
    vi.advanceTimersByTime(100);
    expect(client.link).toMatchObject({ phase: "open", isStale: true });
    FakeSocket.newest.send(delta);
    expect(client.link.isStale).toBe(true);
    FakeSocket.newest.send(stats);
    expect(client.link).toMatchObject({ isStale: false, numbersAtMs: null });
  });

  it("don't end a connection on which books go on", () => {
    const client = startOpen();
    for (let second = 0; second < 30; second += 1) {
      vi.advanceTimersByTime(1_000);
      FakeSocket.newest.send(delta);
    }
    expect(client.link).toMatchObject({ phase: "open", isStale: true });
    expect(FakeSocket.all).toHaveLength(1);
    vi.advanceTimersByTime(10_000);
    expect(client.link.phase).toBe("waiting");
  });

  it("are told with the time when the last ones came, which a new connection does not change", () => {
    const client = startOpen();
    liveFor(1);
    const cameAtMs = performance.now();
    vi.advanceTimersByTime(700);
    FakeSocket.newest.end();
    expect(client.link.numbersAtMs).toBe(cameAtMs);
    vi.advanceTimersByTime(250);
    FakeSocket.newest.open();
    FakeSocket.newest.send(delta);
    vi.advanceTimersByTime(3_000);
    expect(client.link).toMatchObject({ phase: "open", isStale: true, numbersAtMs: cameAtMs });
  });
});

describe("silence", () => {
  it("makes everything stale after two seconds, and one message makes it live", () => {
    const client = startOpen();
    liveFor(5);
    vi.advanceTimersByTime(1_999);
    expect(client.link.isStale).toBe(false);
    vi.advanceTimersByTime(1);
    expect(client.link).toMatchObject({ phase: "open", isStale: true });
    FakeSocket.newest.send(stats);
    expect(client.link.isStale).toBe(false);
    vi.advanceTimersByTime(2_000);
    expect(client.link.isStale).toBe(true);
  });

  it("of ten seconds ends a connection that only seems open", () => {
    const client = startOpen();
    const first = FakeSocket.newest;
    vi.advanceTimersByTime(10_000);
    expect(first.isClosedByPage).toBe(true);
    expect(client.link.phase).toBe("waiting");
  });
});

describe("a hidden tab", () => {
  it("keeps its connection for a glance elsewhere", () => {
    const client = startOpen();
    client.setVisible(false);
    vi.advanceTimersByTime(1_500);
    client.setVisible(true);
    FakeSocket.newest.send(stats);
    liveFor(10);
    expect(FakeSocket.all).toHaveLength(1);
    expect(client.link.phase).toBe("open");
  });

  it("closes after a while, does nothing then, and opens at once when it is seen again", () => {
    const client = startOpen();
    client.setVisible(false);
    vi.advanceTimersByTime(5_000);
    expect(FakeSocket.newest.isClosedByPage).toBe(true);
    expect(client.link).toMatchObject({ phase: "paused", isStale: true });
    expect(vi.getTimerCount()).toBe(0);
    client.setVisible(true);
    expect(FakeSocket.all).toHaveLength(2);
    expect(client.link.phase).toBe("connecting");
  });

  it("does not connect while it is hidden from the start", () => {
    const client = makeClient();
    client.setVisible(false);
    client.start();
    expect(FakeSocket.all).toHaveLength(0);
    client.setVisible(true);
    expect(FakeSocket.all).toHaveLength(1);
  });
});

describe("the network", () => {
  it("gone: closes at once and waits for it, back: opens at once", () => {
    const client = startOpen();
    client.setOnline(false);
    expect(client.link).toMatchObject({ phase: "offline", isStale: true });
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.all).toHaveLength(1);
    client.setOnline(true);
    expect(FakeSocket.all).toHaveLength(2);
  });
});
