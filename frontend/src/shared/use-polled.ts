// An HTTP answer that is asked for while the page is visible: at once after each reconnection, and again and again or
// until it comes.
import { useEffect, useState } from "react";
import { fetchJson, type IsAnswer } from "./fetching";

/** So long after a question that was not answered, it is put again. */
const RETRY_MS = 10_000;

export interface Polled<T> {
  /** The newest answer; null before the first. */
  readonly data: T | null;
  /** Why the last question was not answered; empty when it was. */
  readonly error: string;
}

interface Asked<T> extends Polled<T> {
  readonly url: string;
}

/**
 * The answer of `url`, asked for each `everyMs`, or once where that is null. `round` is a number that goes up with each
 * connection: a new one asks anew. While `isActive` is false nothing is asked, and the last answer stays.
 */
export function usePolled<T>(
  url: string,
  isAnswer: IsAnswer<T>,
  everyMs: number | null,
  round: number,
  isActive: boolean,
): Polled<T> {
  const [asked, setAsked] = useState<Asked<T>>({ url, data: null, error: "" });
  useEffect(() => {
    if (!isActive) {
      return undefined;
    }
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async () => {
      let waitMs = everyMs;
      try {
        const data = await fetchJson(url, isAnswer, abort.signal);
        setAsked({ url, data, error: "" });
      } catch (error) {
        if (abort.signal.aborted) {
          return;
        }
        const message = error instanceof Error ? error.message : String(error);
        setAsked((before) => ({ url, data: before.url === url ? before.data : null, error: message }));
        waitMs ??= RETRY_MS;
      }
      if (waitMs !== null) {
        timer = setTimeout(() => void ask(), waitMs);
      }
    };
    void ask();
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [url, isAnswer, everyMs, round, isActive]);
  // The answer to another question is none to this one.
  return asked.url === url ? asked : { data: null, error: "" };
}
