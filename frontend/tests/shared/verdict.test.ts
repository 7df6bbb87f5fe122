// The one sentence at the top.
import { describe, expect, it } from "vitest";
import { FIRST_LINK, type LinkState } from "../../src/live/link";
import { formatClock } from "../../src/shared/format";
import { judge } from "../../src/shared/verdict";
import { iso, makeProblem, makeStats, NOON_MS } from "../samples";

const OPEN: LinkState = { ...FIRST_LINK, phase: "open", opens: 1 };

describe("the verdict", () => {
  it("is Recording when there is nothing wrong, since the last part became well", () => {
    expect(judge(makeStats(), OPEN)).toMatchObject({
      kind: "good",
      title: "Recording",
      sinceMs: NOON_MS - 1_800_000,
      note: "All 3 books exact",
      problems: [],
    });
  });

  it("stays Recording with a mere notice", () => {
    expect(judge(makeStats({ problems: [makeProblem({ level: "notice" })] }), OPEN)).toMatchObject({
      kind: "good",
      title: "Recording",
    });
  });

  it("tells that a reserve is in use while the database is away, and when it is on its way out of it", () => {
    const database = {
      ...makeStats().database,
      phase: "away",
      reason: "connection refused",
      since: iso(NOON_MS),
    } as const;
    expect(judge(makeStats({ problems: [makeProblem()], database }), OPEN)).toMatchObject({
      kind: "reserve",
      title: "Recording to disk – the database is away",
      sinceMs: NOON_MS - 60_000,
    });
    expect(judge(makeStats({ problems: [makeProblem({ id: "spool" })] }), OPEN)).toMatchObject({
      kind: "reserve",
      title: "Recording, the spool is draining",
    });
    expect(judge(makeStats({ problems: [makeProblem({ id: "clock" })] }), OPEN).title).toBe("Recording, with a fault");
  });

  it("does not promise exact books when something failed, or an audit found one wrong", () => {
    expect(judge(makeStats({ problems: [makeProblem({ level: "failed" })] }), OPEN).note).toBe("");
    const failed = makeStats({ problems: [makeProblem({ level: "failed" })], markets_active: 2 });
    expect(judge(failed, OPEN).note).toBe("2 of 3 books exact");
    const doubted = makeStats({ problems: [makeProblem({ id: "audit-mismatch", is_over: true })] });
    expect(judge(doubted, OPEN)).toMatchObject({ title: "Recording, with a fault", note: "", sinceMs: null });
  });

  it("is NOT recording when something failed, since the worst problem", () => {
    const problems = [makeProblem({ id: "feed", level: "failed", since_ms: NOON_MS - 5_000 }), makeProblem()];
    expect(judge(makeStats({ problems, session_status: "refused", markets_active: 0 }), OPEN)).toMatchObject({
      kind: "failed",
      title: "NOT recording",
      sinceMs: NOON_MS - 5_000,
    });
    expect(judge(makeStats({ problems }), OPEN).title).toBe("NOT recording everything");
  });

  it("tells what is at risk from what is lost: with the spool full, memory still takes what comes", () => {
    const full = makeProblem({ id: "spool-full", level: "failed" });
    const title = "At risk – what comes is held in memory alone";
    expect(judge(makeStats({ problems: [full] }), OPEN)).toMatchObject({ kind: "failed", title });
    const feed = makeProblem({ id: "feed:feed-1", level: "failed" });
    expect(judge(makeStats({ problems: [full, feed] }), OPEN).title).toBe("NOT recording everything");
    const stopped = makeStats({ problems: [full], session_status: "connecting", markets_active: 0 });
    expect(judge(stopped, OPEN).title).toBe("NOT recording");
  });

  it("does not claim to record before the first session", () => {
    expect(judge(makeStats({ session_id: "", session_status: "connecting" }), OPEN).title).toBe("Not recording yet");
  });

  it("does not claim to record while the only connection is made again", () => {
    const stats = makeStats({ session_status: "connecting", problems: [makeProblem({ id: "feed:1", title: "Lost" })] });
    expect(judge(stats, OPEN)).toMatchObject({
      kind: "degraded",
      title: "Not recording while reconnecting",
      sinceMs: NOON_MS - 60_000,
    });
  });

  it("is no alarm when a hidden tab comes back, but does not let old numbers live", () => {
    const verdict = judge(makeStats(), { ...OPEN, phase: "connecting", isStale: true });
    expect(verdict).toMatchObject({ kind: "connecting", problems: [] });
    expect(verdict.title).toContain(`numbers as of ${formatClock(NOON_MS)}`);
  });

  it("puts a lost connection before everything, with the time of the last numbers", () => {
    const verdict = judge(makeStats({ problems: [makeProblem()] }), {
      ...OPEN,
      phase: "waiting",
      isStale: true,
      attempts: 1,
      numbersAtMs: 77,
    });
    expect(verdict.numbersAtMs).toBe(77);
    expect(verdict.kind).toBe("lost");
    expect(verdict.title).toBe(`No connection to the collector – numbers as of ${formatClock(NOON_MS)}`);
    expect(verdict.problems.map((problem) => problem.id)).toEqual(["page_connection", "database"]);
  });

  it("tells silence on an open connection from a lost one", () => {
    expect(judge(makeStats(), { ...OPEN, isStale: true }).problems[0]?.title).toBe(
      "The collector has stopped answering",
    );
  });

  it("is no alarm while the page connects for the first time", () => {
    expect(judge(null, FIRST_LINK)).toMatchObject({ kind: "connecting", problems: [] });
    const verdict = judge(null, { ...FIRST_LINK, isStale: true });
    expect(verdict).toMatchObject({ kind: "lost", title: "No connection to the collector" });
    expect(verdict.problems[0]?.title).toBe("This page can’t reach the collector");
  });
});
