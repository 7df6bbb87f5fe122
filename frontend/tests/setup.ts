// What jsdom lacks, and a clean page after each test.
import "@testing-library/jest-dom/vitest";
import { cleanup } from "@testing-library/react";
import { afterEach, vi } from "vitest";

const nothing = () => undefined;

window.matchMedia = (query: string): MediaQueryList => {
  const list = new EventTarget();
  return Object.assign(list, {
    matches: false,
    media: query,
    onchange: null,
    addListener: nothing,
    removeListener: nothing,
  }) as MediaQueryList;
};

globalThis.ResizeObserver = class {
  readonly observe = nothing;
  readonly unobserve = nothing;
  readonly disconnect = nothing;
};

// A virtual list draws what fits into its scroller, and jsdom lays nothing out: every element is 400 px high.
Object.defineProperty(HTMLElement.prototype, "clientHeight", { configurable: true, value: 400 });
Object.defineProperty(HTMLElement.prototype, "clientWidth", { configurable: true, value: 800 });

// Testing Library waits for timers, and knows only Jest's way to advance those that are not real.
Object.assign(globalThis, { jest: { advanceTimersByTime: (ms: number) => vi.advanceTimersByTime(ms) } });

HTMLElement.prototype.scrollTo = nothing;

afterEach(() => {
  cleanup();
  localStorage.clear();
  window.history.replaceState(null, "", "/rl-orderbooks");
});
