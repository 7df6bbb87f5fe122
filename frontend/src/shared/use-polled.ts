// An HTTP answer that is asked for again and again while the page is visible, and at once after a reconnection.
import { useEffect, useState } from "react";
import { fetchJson, type IsAnswer } from "./fetching";

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
 * The answer of `url`. `round` is a number that goes up with each connection: a new one asks anew. While `isActive` is
 * false nothing is asked, and the last answer stays.
 */
export function usePolled<T>(
  url: string,
  isAnswer: IsAnswer<T>,
  everyMs: number,
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
      try {
        const data = await fetchJson(url, isAnswer, abort.signal);
        setAsked({ url, data, error: "" });
      } catch (error) {
        if (abort.signal.aborted) {
          return;
        }
        const message = error instanceof Error ? error.message : String(error);
        setAsked((before) => ({ url, data: before.url === url ? before.data : null, error: message }));
      }
      timer = setTimeout(() => void ask(), everyMs);
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
