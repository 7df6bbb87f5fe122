// What the browser tells the connection.
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { HIDDEN_GRACE_MS, LiveClient } from "../../src/live/client";
import { followPage } from "../../src/live/page-events";
import { FakeSocket } from "./fake-socket";

function show(state: DocumentVisibilityState): void {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue(state);
  document.dispatchEvent(new Event("visibilitychange"));
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
});

afterEach(() => {
  vi.useRealTimers();
});

it("the connection follows the tab's visibility and the network, until it is let go", () => {
  const client = new LiveClient({
    openSocket: () => new FakeSocket(),
    now: () => performance.now(),
    random: () => 0,
    onMessage: () => undefined,
  });
  const unfollow = followPage(client, window);
  client.start();
  FakeSocket.newest.open();
  show("hidden");
  vi.advanceTimersByTime(HIDDEN_GRACE_MS);
  expect(client.link.phase).toBe("paused");
  show("visible");
  expect(client.link.phase).toBe("connecting");
  const onLine = vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
  window.dispatchEvent(new Event("offline"));
  expect(client.link.phase).toBe("offline");
  onLine.mockReturnValue(true);
  window.dispatchEvent(new Event("online"));
  expect(client.link.phase).toBe("connecting");
  unfollow();
  show("hidden");
  vi.advanceTimersByTime(HIDDEN_GRACE_MS);
  expect(client.link.phase).not.toBe("paused");
});
