// The live stream's connection: opened at once, made again when it is lost, closed while nobody looks.
//
// Two deadlines: statistics, each of which says that the page's numbers are of now, and messages of any kind, which only
// say that the connection lives. Without the former the link is stale, without the latter it is given up.
// No React here, and no document: whoever owns the page tells whether it is visible and online.
import type { LiveMessage } from "../protocol/messages";
import { MessageParser } from "../protocol/parse";
import { backoffMs, TURNED_AWAY, USUAL } from "./backoff";
import { CLOSE_POLICY, CLOSE_TRY_LATER, closeReason, FIRST_LINK, type LinkState } from "./link";

/** Statistics come each second; two seconds without any, and the numbers have stopped, whatever else still comes. */
export const STALE_MS = 2_000;
/** An open connection that says nothing for so long is dead, whatever TCP believes. */
export const SILENCE_MS = 10_000;
/** A connection that lived so long was a good one: the next loss begins with the shortest wait again. */
export const STABLE_MS = 30_000;
/** A glance at another tab does not cost the connection. */
export const HIDDEN_GRACE_MS = 5_000;

/** As much of a WebSocket as is used here. */
export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  close: () => void;
}

export interface LiveClientOptions {
  readonly openSocket: () => Socket;
  /** A clock that only goes forward, in milliseconds. */
  readonly now: () => number;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly onMessage: (message: LiveMessage) => void;
}

type Timer = ReturnType<typeof setTimeout>;

export class LiveClient {
  readonly #options: LiveClientOptions;
  readonly #parser = new MessageParser();
  readonly #listeners = new Set<() => void>();
  #link: LinkState = FIRST_LINK;
  #socket: Socket | null = null;
  #openedAtMs = 0;
  /** When anything came last, or the connection began. */
  #heardAtMs = 0;
  /** When the present wait for statistics began: with the last ones, or with the connection. */
  #awaitedFromMs = 0;
  #numbersAtMs: number | null = null;
  #retry: Timer | undefined;
  #watch: Timer | undefined;
  #hide: Timer | undefined;
  #isVisible = true;
  #isOnline = true;
  #isStarted = false;
  // Why the server is about to close, as its `error` message told.
  #complaint = "";

  constructor(options: LiveClientOptions) {
    this.#options = options;
  }

  get link(): LinkState {
    return this.#link;
  }

  /** Messages that were not understood. */
  get ignored(): number {
    return this.#parser.ignored;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly getLink = (): LinkState => this.#link;

  start(): void {
    this.#isStarted = true;
    this.#reopen();
  }

  stop(): void {
    this.#isStarted = false;
    clearTimeout(this.#hide);
    this.#drop();
  }

  /** Try at once, as somebody asks for it. */
  retryNow(): void {
    if (this.#socket === null) {
      this.#reopen();
    }
  }

  setVisible(isVisible: boolean): void {
    if (isVisible === this.#isVisible) {
      return;
    }
    this.#isVisible = isVisible;
    clearTimeout(this.#hide);
    if (!isVisible) {
      this.#hide = setTimeout(() => this.#rest("paused"), HIDDEN_GRACE_MS);
    } else if (this.#socket === null) {
      this.#reopen();
    }
  }

  setOnline(isOnline: boolean): void {
    if (isOnline === this.#isOnline) {
      return;
    }
    this.#isOnline = isOnline;
    if (isOnline) {
      this.#reopen();
    } else {
      this.#rest("offline");
    }
  }

  #rest(phase: "paused" | "offline"): void {
    this.#drop();
    this.#set({
      phase,
      isStale: true,
      numbersAtMs: this.#numbersAtMs,
      retryAtMs: null,
      reason: phase === "offline" ? "This device has no network." : "",
    });
  }

  /** Open a new connection in place of whatever there is. */
  #reopen(): void {
    if (!this.#isStarted || !this.#isOnline || !this.#isVisible) {
      return;
    }
    this.#drop();
    this.#complaint = "";
    const socket = this.#options.openSocket();
    this.#socket = socket;
    this.#heardAtMs = this.#awaitedFromMs = this.#options.now();
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#set({ phase: "connecting", retryAtMs: null });
    this.#armWatch();
  }

  #opened(): void {
    this.#openedAtMs = this.#heardAtMs = this.#awaitedFromMs = this.#options.now();
    this.#set({ phase: "open", retryAtMs: null, opens: this.#link.opens + 1 });
  }

  #received(payload: unknown): void {
    const message = this.#parser.parse(payload);
    if (message === null) {
      return;
    }
    this.#heardAtMs = this.#options.now();
    if (message.type === "error") {
      this.#complaint = message.data.message;
    } else {
      this.#options.onMessage(message);
    }
    // Nothing else renews the page's numbers: what comes before or between must not make old ones look alive.
    if (message.type === "stats") {
      this.#numbersAtMs = this.#awaitedFromMs = this.#heardAtMs;
      if (this.#link.isStale || this.#link.reason !== "") {
        this.#set({ isStale: false, reason: "", numbersAtMs: null });
        this.#armWatch();
      }
    }
  }

  #lost(code: number, reason: string): void {
    const wasStable = this.#link.phase === "open" && this.#options.now() - this.#openedAtMs >= STABLE_MS;
    const attempts = wasStable ? 0 : this.#link.attempts;
    const isTurnedAway = code === CLOSE_POLICY || code === CLOSE_TRY_LATER;
    const waitMs = backoffMs(attempts, this.#options.random(), isTurnedAway ? TURNED_AWAY : USUAL);
    const said = closeReason(code, reason === "" ? this.#complaint : reason);
    this.#drop();
    this.#retry = setTimeout(() => this.#reopen(), waitMs);
    this.#set({
      phase: "waiting",
      isStale: true,
      numbersAtMs: this.#numbersAtMs,
      attempts: attempts + 1,
      retryAtMs: this.#options.now() + waitMs,
      // A connection that can't be made says nothing; then what ended the last one still tells most.
      reason: said === "" ? this.#link.reason : said,
    });
  }

  /** One timer watches both deadlines: it is set anew when it fires, not with each of thousands of messages. */
  #armWatch(): void {
    const staleAtMs = this.#link.isStale ? Infinity : this.#awaitedFromMs + STALE_MS;
    const nextMs = Math.min(staleAtMs, this.#heardAtMs + SILENCE_MS);
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => this.#look(), Math.max(0, nextMs - this.#options.now()));
  }

  #look(): void {
    const nowMs = this.#options.now();
    if (nowMs - this.#heardAtMs >= SILENCE_MS) {
      this.#lost(0, "Nothing has come for 10 seconds");
      return;
    }
    if (!this.#link.isStale && nowMs - this.#awaitedFromMs >= STALE_MS) {
      this.#set({ isStale: true, numbersAtMs: this.#numbersAtMs });
    }
    this.#armWatch();
  }

  #drop(): void {
    clearTimeout(this.#retry);
    clearTimeout(this.#watch);
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  #set(change: Partial<LinkState>): void {
    this.#link = { ...this.#link, ...change };
    for (const listener of this.#listeners) {
      listener();
    }
  }
}
