// The one place where text of the live stream becomes a message.
import type { LiveMessage } from "./messages";

const KNOWN: Readonly<Record<LiveMessage["type"], true>> = {
  connection: true,
  orderbook_snapshot: true,
  orderbook_delta: true,
  stats: true,
  error: true,
};

/** Reads messages; counts what it can't read or does not know, which a newer collector may well send. */
export class MessageParser {
  ignored = 0;

  /** The message in a frame's payload, or null when there is nothing that this page understands. */
  parse(payload: unknown): LiveMessage | null {
    const value = typeof payload === "string" ? parseJson(payload) : null;
    if (isLiveMessage(value)) {
      return value;
    }
    this.ignored += 1;
    return null;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

// The shape of `data` is the schema's promise, kept by tests on both sides; checking it here again would cost
// every one of thousands of messages a second.
function isLiveMessage(value: unknown): value is LiveMessage {
  return (
    typeof value === "object" &&
    value !== null &&
    "type" in value &&
    typeof value.type === "string" &&
    Object.hasOwn(KNOWN, value.type) &&
    "data" in value &&
    typeof value.data === "object" &&
    value.data !== null
  );
}
