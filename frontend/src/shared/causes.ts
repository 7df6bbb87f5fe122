// Why a book was unknown, in plain words that fit into a table's cell. Pure.
import { words } from "./format";

/** Time in which a market was not recorded because nobody wished it: no fault, and no time of doubt. */
export const UNFOLLOWED = "unfollowed";

const WORDS: ReadonlyMap<string, string> = new Map([
  ["no_snapshot_yet", "no snapshot yet"],
  ["sequence", "messages missing"],
  ["reject", "a message was not understood"],
  ["negative_level", "a size went below zero"],
  ["audit_mismatch", "an audit found it wrong"],
  ["after_end", "an answer came too late"],
  ["channel_error", "error at the exchange"],
  ["buffer_overflow", "the exchange’s buffer overflowed"],
  ["unsubscribed", "the exchange ended the subscription"],
  [UNFOLLOWED, "not followed any more"],
  // How a session ended, where its own words are none.
  ["closed", "the session was closed"],
  ["error", "the session failed"],
  ["recorder_died", "the collector died"],
]);

/** The words for a cause. One that this page does not know is a name of a newer collector, or how a session ended. */
export function causeWords(cause: string): string {
  const known = WORDS.get(cause);
  if (known !== undefined) {
    return known;
  }
  return /^\w+$/.test(cause) ? words(cause) : `session ended: ${cause}`;
}
