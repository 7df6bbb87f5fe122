// The page /rl-orderbooks: every market's book at a glance, and one of them opened.
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import type { BookStore } from "../books/book-store";
import { type Filter, listBooks, type Sorting } from "../books/order";
import type { LiveClient } from "../live/client";
import { useLink, useStats } from "../live/hooks";
import type { StatsStore } from "../live/stats-store";
import { AsOfContext } from "../shared/as-of";
import type { Endpoints } from "../shared/endpoints";
import { Shell } from "../shared/Shell";
import { judge } from "../shared/verdict";
import { VerdictBanner } from "../shared/VerdictBanner";
import { useMarketParam } from "./market-param";
import { MarketGrid } from "./MarketGrid";
import { MarketPanel } from "./MarketPanel";
import { type Counts, Toolbar } from "./Toolbar";

interface OrderbooksPageProps {
  readonly client: LiveClient;
  readonly statsStore: StatsStore;
  readonly bookStore: BookStore;
  readonly endpoints: Endpoints;
}

function count(store: BookStore): Counts {
  let exact = 0;
  for (const book of store.books()) {
    exact += book.isExact ? 1 : 0;
  }
  return { all: store.size, exact, unknown: store.size - exact };
}

export function OrderbooksPage({ client, statsStore, bookStore, endpoints }: OrderbooksPageProps) {
  const link = useLink(client);
  const stats = useStats(statsStore);
  const version = useSyncExternalStore(bookStore.subscribe, bookStore.getVersion);
  const orderVersion = useSyncExternalStore(bookStore.subscribe, bookStore.getOrderVersion);
  const [filter, setFilter] = useState<Filter>({ text: "", state: "all" });
  const [sorting, setSorting] = useState<Sorting>({ column: "market", isDescending: false });
  const { market, open, close } = useMarketParam();
  const searchRef = useRef<HTMLInputElement>(null);
  // Books change in place: the versions say when to look again.
  const books = useMemo(
    () => (orderVersion < 0 ? [] : listBooks(bookStore.books(), filter, sorting, bookStore.slot)),
    [bookStore, filter, sorting, orderVersion],
  );
  const counts = useMemo(
    () => (version < 0 ? { all: 0, exact: 0, unknown: 0 } : count(bookStore)),
    [bookStore, version],
  );
  const activityTop = useMemo(() => (orderVersion < 0 ? 1 : bookStore.activityTop()), [bookStore, orderVersion]);
  useKeys(searchRef, market, close);
  useReturnToList(market);
  const isStale = link.isStale && (stats !== null || counts.all > 0);
  const nowMs = stats?.server_time_ms ?? null;
  const opened = market === null ? undefined : bookStore.book(market);
  return (
    <AsOfContext value={isStale ? nowMs : null}>
      <Shell path="/rl-orderbooks" client={client} stats={stats} endpoints={endpoints} isStale={isStale}>
        <VerdictBanner verdict={judge(stats, link)} nowMs={nowMs} httpUrl={endpoints.httpUrl} problemsMax={1} />
        <div className="books living" data-opened={market !== null}>
          <section className="books-list" aria-label="Markets">
            <Toolbar
              filter={filter}
              setFilter={setFilter}
              sorting={sorting}
              setSorting={setSorting}
              counts={counts}
              listed={books.length}
              searchRef={searchRef}
            />
            <MarketGrid
              books={books}
              sorting={sorting}
              setSorting={setSorting}
              slot={bookStore.slot}
              activityTop={activityTop}
              nowMs={nowMs}
              opened={market}
              open={open}
            />
            {books.length === 0 && (
              <p className="empty books-empty">
                {counts.all === 0 ? "Waiting for the markets…" : "No market is like that."}
              </p>
            )}
          </section>
          {market !== null && (
            <MarketPanel
              ticker={market}
              book={opened}
              isListed={counts.all > 0}
              version={opened?.version ?? 0}
              slot={bookStore.slot}
              activityTop={activityTop}
              nowMs={nowMs}
              close={close}
            />
          )}
        </div>
      </Shell>
    </AsOfContext>
  );
}

/** When a market closes, by whatever way, the focus goes back to the row in the list that had it before. */
function useReturnToList(market: string | null): void {
  const wasOpen = useRef(false);
  useEffect(() => {
    if (wasOpen.current && market === null) {
      document.querySelector<HTMLElement>('.market-row[tabindex="0"]')?.focus({ preventScroll: true });
    }
    wasOpen.current = market !== null;
  }, [market]);
}

/** In a search that has text, Escape clears the text. */
function isClearing(target: EventTarget | null): boolean {
  return target instanceof HTMLInputElement && target.value !== "";
}

/** `/` goes to the search, Escape closes the opened market. */
function useKeys(searchRef: React.RefObject<HTMLInputElement | null>, market: string | null, close: () => void): void {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
      if (event.key === "/" && !isTyping) {
        event.preventDefault();
        searchRef.current?.focus();
      } else if (event.key === "Escape" && market !== null && !isClearing(event.target)) {
        close();
      }
    };
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, [searchRef, market, close]);
}
