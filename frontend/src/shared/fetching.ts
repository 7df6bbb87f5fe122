// Asks the collector's HTTP side for JSON. What can't be had is a sentence for people.
import type { ErrorAnswer } from "../protocol/messages";

export const ASK_MS_MAX = 15_000;

/** Some answers are meant although their status is not 200: /health/data says 503 with its whole verdict. */
export type IsAnswer<T> = (body: unknown) => body is T;

/** The body of a URL's answer. Throws an Error whose message can be shown. */
export async function fetchJson<T>(url: string, isAnswer: IsAnswer<T>, signal: AbortSignal): Promise<T> {
  let body: unknown;
  let status: number;
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS_MAX)]),
      cache: "no-store",
    });
    status = response.status;
    body = await response.json();
  } catch (error) {
    if (signal.aborted) {
      throw error;
    }
    throw new Error("The collector does not answer.", { cause: error });
  }
  if (isAnswer(body)) {
    return body;
  }
  throw new Error(isErrorAnswer(body) ? body.message : `The collector answers with status ${status}.`);
}

export function hasKey<T>(key: keyof T & string): IsAnswer<T> {
  return (body): body is T => typeof body === "object" && body !== null && key in body;
}

function isErrorAnswer(body: unknown): body is ErrorAnswer {
  return typeof body === "object" && body !== null && "message" in body && typeof body.message === "string";
}
