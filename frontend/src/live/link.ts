// What is known about the connection to the collector, for people and for the rest of the page. Pure.

export type LinkPhase =
  /** A socket is being opened. */
  | "connecting"
  /** Open. */
  | "open"
  /** Lost; the next attempt has its time. */
  | "waiting"
  /** The browser says that there is no network. */
  | "offline"
  /** The tab is hidden, and so nobody reads. */
  | "paused";

export interface LinkState {
  readonly phase: LinkPhase;
  /** Whether no statistics have come for too long, or can't come: all numbers are of their last message. */
  readonly isStale: boolean;
  /** When the last statistics came, by the client's own clock; told while the link is stale. */
  readonly numbersAtMs: number | null;
  /** Attempts since the last stable connection. */
  readonly attempts: number;
  /** When the next attempt begins, by the client's own clock. */
  readonly retryAtMs: number | null;
  /** Why the last connection ended; empty while there is nothing to say. */
  readonly reason: string;
  /** How many connections have opened: whatever was fetched for an earlier one is to be fetched again. */
  readonly opens: number;
}

export const FIRST_LINK: LinkState = {
  phase: "connecting",
  isStale: false,
  numbersAtMs: null,
  attempts: 0,
  retryAtMs: null,
  reason: "",
  opens: 0,
};

export const CLOSE_GOING_AWAY = 1001;
export const CLOSE_POLICY = 1008;
export const CLOSE_TRY_LATER = 1013;

/** A close code as a sentence. The server's own words go first. */
export function closeReason(code: number, reason: string): string {
  switch (code) {
    case CLOSE_GOING_AWAY:
      return "The collector is stopping or restarting.";
    case CLOSE_POLICY:
      return `The collector refuses this page${reason === "" ? "" : `: ${reason}`}.`;
    case CLOSE_TRY_LATER:
      return "The collector has as many viewers as it takes.";
    default:
      return reason === "" ? "" : `${reason}.`;
  }
}
