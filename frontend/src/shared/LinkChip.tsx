// The connection to the collector in two words, and what one can do about it.
import type { LiveClient } from "../live/client";
import { useLink } from "../live/hooks";
import type { LinkState } from "../live/link";
import { useSecond } from "./use-second";

const now = () => performance.now();

function describe(link: LinkState, nowMs: number): string {
  switch (link.phase) {
    case "open":
      return link.isStale ? "Silent" : "Live";
    case "connecting":
      return link.attempts === 0 ? "Connecting" : "Reconnecting";
    case "waiting": {
      const seconds = Math.ceil(((link.retryAtMs ?? nowMs) - nowMs) / 1000);
      return seconds > 0 ? `Next try in ${seconds} s` : "Reconnecting";
    }
    case "offline":
      return "Offline";
    case "paused":
      return "Paused";
  }
}

export function LinkChip({ client }: { readonly client: LiveClient }) {
  const link = useLink(client);
  const nowMs = useSecond(now, link.phase === "waiting");
  const isLive = link.phase === "open" && !link.isStale;
  return (
    <span className="link-chip" data-live={isLive} data-phase={link.phase}>
      <span className="link-dot" aria-hidden="true" />
      {/* Counting seconds is for the eye; the verdict tells of the loss. */}
      <span>{describe(link, nowMs)}</span>
      {link.phase === "waiting" && (
        <button type="button" className="text-button" onClick={() => client.retryNow()}>
          Try now
        </button>
      )}
    </span>
  );
}
