// The page /rl-stats as its reader meets it.
import { act, render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { LiveClient } from "../../src/live/client";
import { StatsStore } from "../../src/live/stats-store";
import type { CoverageData, StatsData } from "../../src/protocol/messages";
import { SeriesStore } from "../../src/series/series-store";
import { endpoints } from "../../src/shared/endpoints";
import { formatClock } from "../../src/shared/format";
import { StatsPage } from "../../src/stats/StatsPage";
import { FakeSocket } from "../live/fake-socket";
import { iso, makeProblem, makeSecond, makeSession, makeStats, NOON_MS } from "../samples";

// Canvas is not there in jsdom; the charts' words are.
vi.mock("uplot", () => ({
  default: class {
    data = [[], []];
    setData = () => undefined;
    setSize = () => undefined;
    destroy = () => undefined;
  },
}));

const coverage: CoverageData = {
  from_ms: NOON_MS - 900_000,
  to_ms: NOON_MS,
  markets: [
    {
      market_ticker: "KXGOOD-1",
      intervals: [{ from_ms: NOON_MS - 900_000, to_ms: NOON_MS, is_exact: true, cause: null }],
    },
    {
      market_ticker: "KXBAD-1",
      intervals: [
        { from_ms: NOON_MS - 900_000, to_ms: NOON_MS - 90_000, is_exact: true, cause: null },
        { from_ms: NOON_MS - 90_000, to_ms: NOON_MS - 350, is_exact: false, cause: "sequence" },
        { from_ms: NOON_MS - 350, to_ms: NOON_MS, is_exact: false, cause: "no_snapshot_yet" },
      ],
    },
  ],
};

let asked: string[] = [];

beforeEach(() => {
  FakeSocket.all = [];
  asked = [];
  vi.stubGlobal("fetch", (url: string) => {
    asked.push(url);
    const body = url.includes("coverage")
      ? coverage
      : url.includes("series")
        ? { error: "x", message: "no series here" }
        : { status: "good", why: "the ledgers of 1 sessions close", sessions: [] };
    return Promise.resolve(new Response(JSON.stringify(body)));
  });
});

function show(): { client: LiveClient; send: (change: Partial<StatsData>) => Promise<void> } {
  const statsStore = new StatsStore();
  const seriesStore = new SeriesStore();
  const client = new LiveClient({
    openSocket: () => new FakeSocket(),
    now: () => performance.now(),
    random: () => 1,
    onMessage: (message) => {
      if (message.type === "stats") {
        statsStore.put(message.data);
        seriesStore.note(message.data.newest_second);
      }
    },
  });
  client.start();
  render(
    <StatsPage
      client={client}
      statsStore={statsStore}
      seriesStore={seriesStore}
      endpoints={endpoints("http://recorder.test", undefined)}
    />,
  );
  return {
    client,
    send: (change) =>
      act(async () => {
        if (client.link.phase === "connecting") {
          FakeSocket.newest.open();
        }
        FakeSocket.newest.send({ type: "stats", data: makeStats(change) });
        await Promise.resolve();
      }),
  };
}

const verdict = () => screen.getByRole("region", { name: "Verdict" });

it("shows the verdict and the recorder's own numbers", async () => {
  const { send, client } = show();
  expect(within(verdict()).getByRole("heading")).toHaveTextContent("Connecting to the collector");
  await send({ deltas_processed: 123_456, is_simulated: true });
  expect(within(verdict()).getByRole("heading")).toHaveTextContent("Recording");
  expect(screen.getByText("123,456")).toBeInTheDocument();
  expect(screen.getByText("Simulated data")).toBeInTheDocument();
  expect(document.title).toBe("● Recording");
  client.stop();
});

it("tells problems first, worst first, with what to do", async () => {
  const { send, client } = show();
  await send({
    problems: [
      makeProblem({
        id: "feed:1",
        level: "failed",
        title: "The exchange refuses the connection",
        advice: "Check KALSHI_API_KEY_ID.",
      }),
      makeProblem(),
    ],
    markets_active: 0,
  });
  const items = within(verdict()).getAllByRole("listitem");
  expect(items[0]).toHaveTextContent("Failed: The exchange refuses the connection");
  expect(items[0]).toHaveTextContent("What to do Check KALSHI_API_KEY_ID.");
  expect(items[1]).toHaveTextContent("Degraded: PostgreSQL is away");
  expect(within(verdict()).getByRole("heading")).toHaveTextContent("NOT recording");
  client.stop();
});

it("tells when a problem was that is over, and makes code and links of what is meant so", async () => {
  const { send, client } = show();
  const since_ms = NOON_MS - 4_000;
  await send({
    problems: [
      makeProblem({ since_ms, advice: "Read `database` in /rl/status." }),
      makeProblem({ id: "gaps:sequence", level: "notice", since_ms, is_over: true }),
    ],
  });
  const [lasting, over] = within(verdict()).getAllByRole("listitem");
  expect(lasting).toHaveTextContent(`since ${formatClock(since_ms)} (4 s)`);
  expect(lasting?.querySelector("code")).toHaveTextContent(/^database$/);
  expect(screen.getByRole("link", { name: "/rl/status" })).toHaveAttribute("href", "http://recorder.test/rl/status");
  expect(over).toHaveTextContent(`at ${formatClock(since_ms)}over`);
  client.stop();
});

it("shows the newest second of each line as its large number, and no scale where there is none", async () => {
  const { send, client } = show();
  await send({
    newest_second: makeSecond({ messages_per_second: 480, commit_p99_ms: 512, age_p99_ms: null, exact_markets: 3 }),
  });
  const chart = (name: RegExp) => screen.getByRole("img", { name });
  expect(chart(/^Message rate.* now 480, highest 480/)).toBeInTheDocument();
  expect(chart(/^Arrival to database.* now 512 ms/)).toBeInTheDocument();
  expect(chart(/^Exchange to arrival.* now none/).closest(".chart")).toHaveTextContent("No data yet");
  client.stop();
});

it("tells of audits without an answer, and of the markets that were found", async () => {
  const { send, client } = show();
  await send({
    audits: 40,
    unanswered_audits: 2,
    discovery: { is_on: true, open_markets: 12_340, followed: 300, last_look: iso(NOON_MS - 20_000), reason: "" },
  });
  expect(screen.getByText("40 books compared with the exchange’s, 2 not answered")).toBeInTheDocument();
  expect(screen.getByText("Recording 300 of 12,340 open markets, looked up 20 s ago")).toBeInTheDocument();
  client.stop();
});

it("announces the verdict when it changes, and not with each second", async () => {
  const { send, client } = show();
  await send({});
  const live = document.querySelectorAll("[aria-live]");
  expect(live).toHaveLength(1);
  expect(live[0]).toHaveTextContent(/^Recording$/);
  await send({ server_time_ms: NOON_MS + 1_000 });
  expect(live[0]).toHaveTextContent(/^Recording$/);
  client.stop();
});

it("marks everything as of the last message when the connection is gone, and lives again after it", async () => {
  const { send, client } = show();
  await send({});
  expect(screen.queryByText(/^as of/)).toBeNull();
  act(() => FakeSocket.newest.end());
  const asOf = `as of ${formatClock(NOON_MS)}`;
  expect(screen.getAllByText(asOf).length).toBeGreaterThan(6);
  expect(within(verdict()).getByRole("heading")).toHaveTextContent(
    `No connection to the collector – numbers as of ${formatClock(NOON_MS)}`,
  );
  expect(within(verdict()).getByRole("heading")).toHaveTextContent(/, \d+ s ago$/);
  expect(document.querySelector("[aria-live]")).not.toHaveTextContent("ago");
  expect(screen.getByText(/Next try in/)).toBeInTheDocument();
  act(() => client.retryNow());
  await send({ server_time_ms: NOON_MS + 9_000 });
  expect(screen.queryByText(asOf)).toBeNull();
  client.stop();
});

it("asks the database anew after a reconnection, and nothing while there is no connection", async () => {
  const { send, client } = show();
  expect(asked).toEqual([]);
  await send({});
  const before = asked.length;
  expect(asked).toContain("http://recorder.test/rl/coverage?minutes=15");
  expect(asked).toContain("http://recorder.test/rl/series");
  act(() => FakeSocket.newest.end());
  act(() => client.retryNow());
  await send({});
  expect(asked.length).toBe(before * 2);
  client.stop();
});

it("lists coverage worst first and tells the chosen market's unknown times", async () => {
  const { send, client } = show();
  await send({});
  expect(await screen.findByText(/1 of 2 markets exact from the first book on/)).toHaveTextContent(
    "messages missing 1 min 29 s; no snapshot yet 350 ms.",
  );
  const options = screen.getAllByRole("option");
  expect(options[0]).toHaveAccessibleName("KXBAD-1 90.0 % exact, unknown for 1 min 30 s, mostly messages missing");
  expect(options[1]).toHaveAccessibleName("KXGOOD-1 100 % exact");
  act(() => options[1]?.focus());
  expect(screen.getByText("never unknown in this time")).toBeInTheDocument();
  await userEvent.click(screen.getByRole("button", { name: "24 h" }));
  expect(asked).toContain("http://recorder.test/rl/coverage?minutes=1440");
  client.stop();
});

it("tells sessions with their ends and reasons, gaps and rejects", async () => {
  const { send, client } = show();
  await send({
    sessions: [
      makeSession({
        id: 16,
        key: "16",
        status: "error",
        end_reason: "connection_lost",
        close_code: 1006,
        ended: iso(NOON_MS - 1_000),
      }),
      makeSession(),
    ],
    recent_gaps: [
      {
        detected: iso(NOON_MS),
        cause: "sequence",
        market_ticker: "KXA-1",
        sid: 1,
        expected: 10,
        received: 13,
        frame_number: 9,
      },
    ],
    recent_rejects: [{ received: iso(NOON_MS), reason: "malformed_delta", frame_number: 12, text: '{"type":"x"}' }],
  });
  const rows = within(screen.getByRole("table", { name: "Sessions" })).getAllByRole("row");
  expect(rows[1]).toHaveTextContent("17");
  expect(rows[2]).toHaveTextContent("connection lost (code 1006)");
  expect(screen.getByText(/numbers 10 to 12 are missing/)).toBeInTheDocument();
  expect(screen.getByText('{"type":"x"}')).toBeInTheDocument();
  client.stop();
});
