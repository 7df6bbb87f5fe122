// The page /rl-orderbooks as its reader meets it.
import { act, fireEvent, render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { BookStore, NOTIFY_MS, ORDER_MS } from "../../src/books/book-store";
import { LiveClient } from "../../src/live/client";
import { StatsStore } from "../../src/live/stats-store";
import { OrderbooksPage } from "../../src/orderbooks/OrderbooksPage";
import { endpoints } from "../../src/shared/endpoints";
import { formatClock } from "../../src/shared/format";
import { FakeSocket } from "../live/fake-socket";
import { makeDelta, makeSnapshot, makeStats, NOON_MS } from "../samples";

let store: BookStore;
let client: LiveClient;
const user = userEvent.setup({ advanceTimers: (ms) => vi.advanceTimersByTime(ms) });

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  window.history.replaceState(null, "", "/rl-orderbooks");
  store = new BookStore(() => performance.now());
  const statsStore = new StatsStore();
  client = new LiveClient({
    openSocket: () => new FakeSocket(),
    now: () => performance.now(),
    random: () => 1,
    onMessage: (message) => {
      if (message.type === "stats") {
        statsStore.put(message.data);
        store.tellTime(message.data.server_time_ms);
      }
    },
  });
  client.start();
  FakeSocket.newest.open();
  FakeSocket.newest.send({ type: "stats", data: makeStats() });
  store.connected({ markets: ["KXA-1", "KXB-2", "KXC-3"], status: "connected", version: "1" });
  store.snapshot(makeSnapshot({ market_ticker: "KXA-1", timestamp_ms: NOON_MS - 5_000 }));
  store.snapshot(
    makeSnapshot({ market_ticker: "KXB-2", yes_bids: { "60.5": 10 }, is_exact: false, unknown_cause: "sequence" }),
  );
  render(
    <OrderbooksPage
      client={client}
      statsStore={statsStore}
      bookStore={store}
      endpoints={endpoints("http://r.test", undefined)}
    />,
  );
  settle();
});

afterEach(() => {
  client.stop();
  vi.useRealTimers();
});

function settle(): void {
  act(() => {
    vi.advanceTimersByTime(ORDER_MS + NOTIFY_MS);
    FakeSocket.newest.send({ type: "stats", data: makeStats() });
  });
}

function rows(): HTMLElement[] {
  return within(screen.getByRole("grid", { name: "Markets" }))
    .getAllByRole("row")
    .slice(1);
}

function cells(row: HTMLElement | undefined, role: "cell" | "gridcell"): (string | null)[] {
  return row === undefined
    ? []
    : within(row)
        .getAllByRole(role)
        .map((cell) => cell.textContent);
}

function tickers(): (string | null)[] {
  return rows().map((row) => within(row).getByRole("rowheader").textContent);
}

it("lists every market with its best prices, spread, state and last change", () => {
  expect(screen.getByRole("grid")).toHaveAttribute("aria-rowcount", "4");
  const [first, second, third] = rows();
  expect(first).toHaveTextContent("KXA-1");
  expect(first).toHaveTextContent("exact");
  expect(cells(first, "gridcell")).toEqual(["exact", "45", "55", "10", "500", "1", "5 s"]);
  expect(second).toHaveTextContent("messages missing");
  expect(third).toHaveTextContent("no snapshot yet");
});

it("sorts by any heading, and says so to a screen reader", async () => {
  await user.click(screen.getByRole("button", { name: "Bid ¢" }));
  expect(tickers()).toEqual(["KXB-2", "KXA-1", "KXC-3"]);
  expect(screen.getByRole("columnheader", { name: "Bid ¢" })).toHaveAttribute("aria-sort", "descending");
  await user.click(screen.getByRole("button", { name: "Bid ¢" }));
  expect(tickers()).toEqual(["KXA-1", "KXB-2", "KXC-3"]);
});

it("filters by text and by state", async () => {
  await user.keyboard("/");
  await user.keyboard("kxb");
  expect(tickers()).toEqual(["KXB-2"]);
  await user.clear(screen.getByRole("searchbox"));
  await user.click(screen.getByRole("button", { name: "Unknown 2" }));
  expect(tickers()).toEqual(["KXB-2", "KXC-3"]);
});

it("opens a market by keyboard into its ladder, follows its changes, and closes with Escape", async () => {
  act(() => rows()[0]?.focus());
  await user.keyboard("{Enter}");
  expect(window.location.search).toBe("?market=KXA-1");
  const table = () => within(screen.getByRole("region", { name: "KXA-1" })).getByRole("table");
  const line = (row: number) => cells(within(table()).getAllByRole("row")[row], "cell");
  expect(line(1)).toEqual(["100", "100", "45", "55", "150", "150"]);
  expect(line(2)).toEqual(["350", "250", "44", "–", "", ""]);
  store.delta(makeDelta({ market_ticker: "KXA-1", price: 46.5, new_size: 7, action: "add" }));
  settle();
  expect(line(1)).toEqual(["7", "7", "46.5", "55", "150", "150"]);
  await user.keyboard("{Escape}");
  await vi.waitFor(() => expect(document.activeElement).toBe(rows()[0]));
  expect(window.location.search).toBe("");
});

it("opens the market of its address, and says when there is no such market", () => {
  act(() => {
    window.history.replaceState(null, "", "/rl-orderbooks?market=KXNONE-1");
    window.dispatchEvent(new PopStateEvent("popstate"));
  });
  expect(screen.getByRole("region", { name: "KXNONE-1" })).toHaveTextContent("This market is not recorded here.");
});

it("goes from row to row with the arrow keys, with one row in the tab order", async () => {
  expect(rows().map((row) => row.tabIndex)).toEqual([0, -1, -1]);
  act(() => rows()[0]?.focus());
  await user.keyboard("{End}");
  act(() => {
    vi.advanceTimersByTime(100);
  });
  expect(document.activeElement).toBe(rows()[2]);
  expect(rows().map((row) => row.tabIndex)).toEqual([-1, -1, 0]);
});

it("loses no key that comes before the row it leads to is drawn", () => {
  act(() => rows()[0]?.focus());
  fireEvent.keyDown(document.activeElement ?? document.body, { key: "ArrowDown" });
  fireEvent.keyDown(document.activeElement ?? document.body, { key: "ArrowDown" });
  act(() => {
    vi.advanceTimersByTime(100);
  });
  expect(document.activeElement).toBe(rows()[2]);
});

it("keeps the last books visible but marked when the connection is gone", () => {
  act(() => FakeSocket.newest.end());
  expect(screen.getAllByText(`as of ${formatClock(NOON_MS)}`).length).toBeGreaterThan(0);
  expect(document.querySelector(".shell")).toHaveAttribute("data-stale", "true");
  expect(tickers()).toHaveLength(3);
});
