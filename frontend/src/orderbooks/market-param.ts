// The opened market is part of the address: `?market=TICKER`. Back closes it, a link opens it.
import { useCallback, useSyncExternalStore } from "react";

const CHANGED = "popstate";

function subscribe(changed: () => void): () => void {
  window.addEventListener(CHANGED, changed);
  return () => window.removeEventListener(CHANGED, changed);
}

function read(): string | null {
  return new URLSearchParams(window.location.search).get("market");
}

export function marketHref(ticker: string): string {
  return `${window.location.pathname}?market=${encodeURIComponent(ticker)}`;
}

export interface MarketParam {
  readonly market: string | null;
  readonly open: (ticker: string) => void;
  readonly close: () => void;
}

export function useMarketParam(): MarketParam {
  const market = useSyncExternalStore(subscribe, read);
  const open = useCallback((ticker: string) => {
    // Going from market to market is one step: Back closes, and does not walk through all that was looked at.
    const isFirst = read() === null;
    window.history[isFirst ? "pushState" : "replaceState"]({ isOurs: isFirst || isOurs() }, "", marketHref(ticker));
    window.dispatchEvent(new PopStateEvent(CHANGED));
  }, []);
  const close = useCallback(() => {
    if (isOurs()) {
      window.history.back();
      return;
    }
    // The page was opened with this address; behind it lies another page.
    window.history.replaceState(null, "", window.location.pathname);
    window.dispatchEvent(new PopStateEvent(CHANGED));
  }, []);
  return { market, open, close };
}

function isOurs(): boolean {
  const state: unknown = window.history.state;
  return typeof state === "object" && state !== null && "isOurs" in state && state.isOurs === true;
}
