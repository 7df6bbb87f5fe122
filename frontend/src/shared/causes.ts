// Why a book was unknown, in plain words that fit into a table's cell. Pure.
import type { Cause } from "../protocol/messages";
import { words } from "./format";

/** Time in which a market was not recorded because nobody wished it: no fault, and no time of doubt. */
export const UNFOLLOWED: Cause = "unfollowed";

/** Words for every cause: a cause without words does not compile. */
const WORDS: Readonly<Record<Cause, string>> = {
  no_snapshot_yet: "no snapshot yet",
  sequence: "messages missing",
  reject: "a message was not understood",
  negative_level: "a size went below zero",
  audit_mismatch: "an audit found it wrong",
  after_end: "an answer came too late",
  other_subscription: "a message on the wrong subscription",
  unknown_type: "an unknown kind of message",
  unknown_error: "an unknown error",
  unknown_market: "a change of a market that is not subscribed",
  sequence_conflict: "a number used twice",
  clock_conflict: "the exchange’s clock went back",
  channel_error: "error at the exchange",
  buffer_overflow: "the exchange’s buffer overflowed",
  unsubscribed: "the exchange ended the subscription",
  unfollowed: "not followed any more",
  session_ended: "the session ended",
  not_recorded_yet: "not recorded yet",
  store_lost: "the database lost rows permanently",
  ledger_hole: "the database lost rows",
};

/** How a session ended, where its own words are none. */
const ENDINGS: Readonly<Record<string, string>> = {
  closed: "the session was closed",
  error: "the session failed",
  recorder_died: "the collector died",
};

/** The words for a cause. One that this page does not know is a name of a newer collector, or how a session ended. */
export function causeWords(cause: string): string {
  const known = (WORDS as Readonly<Record<string, string>>)[cause] ?? ENDINGS[cause];
  if (known !== undefined) {
    return known;
  }
  return /^\w+$/.test(cause) ? words(cause) : `session ended: ${cause}`;
}
