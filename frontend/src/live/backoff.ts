// How long to wait before the next attempt to connect. Pure.

export interface Backoff {
  /** The ceiling of the first wait. */
  readonly firstMs: number;
  /** No ceiling is above this. */
  readonly capMs: number;
  /** No wait is below this. */
  readonly floorMs: number;
}

/** For a connection that was lost, or could not be made. */
export const USUAL: Backoff = { firstMs: 500, capMs: 15_000, floorMs: 0 };
/** For a collector that turned this page away: it has too many clients, or does not like the request. */
export const TURNED_AWAY: Backoff = { firstMs: 30_000, capMs: 60_000, floorMs: 15_000 };

/**
 * The wait before attempt number `attempt` (from 0) after a loss, with full jitter: anything up to the ceiling, so that
 * many pages which lost the same collector don't come back at the same moment. `random` is from 0 up to 1.
 */
export function backoffMs(attempt: number, random: number, backoff: Backoff = USUAL): number {
  // Beyond 2**30 the power would only lose its exactness; the cap was reached long before.
  const ceiling = Math.min(backoff.capMs, backoff.firstMs * 2 ** Math.min(attempt, 30));
  return backoff.floorMs + random * Math.max(0, ceiling - backoff.floorMs);
}
