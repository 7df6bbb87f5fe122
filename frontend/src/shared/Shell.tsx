// What both pages have around them: header, navigation, main and footer.
import type { ReactNode } from "react";
import type { LiveClient } from "../live/client";
import type { StatsData } from "../protocol/messages";
import type { Endpoints } from "./endpoints";
import { LinkChip } from "./LinkChip";
import { ThemeToggle } from "./ThemeToggle";

const PAGES = [
  { path: "/rl-stats", name: "Recording" },
  { path: "/rl-orderbooks", name: "Order books" },
] as const;

export type PagePath = (typeof PAGES)[number]["path"];

interface ShellProps {
  readonly path: PagePath;
  readonly client: LiveClient;
  readonly stats: StatsData | null;
  readonly endpoints: Endpoints;
  readonly isStale: boolean;
  readonly children: ReactNode;
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export function Shell({ path, client, stats, endpoints, isStale, children }: ShellProps) {
  const title = PAGES.find((page) => page.path === path)?.name;
  return (
    <div className="shell" data-stale={isStale} data-page={path.slice(1)}>
      <a className="skip-link" href="#main">
        Skip to content
      </a>
      <header className="top">
        <p className="brand">
          <img src="/icon.svg" alt="" width="22" height="22" />
          <span>Order-book collector</span>
        </p>
        <nav className="tabs" aria-label="Pages">
          {PAGES.map((page) => (
            <a key={page.path} href={page.path} aria-current={page.path === path ? "page" : undefined}>
              {page.name}
            </a>
          ))}
        </nav>
        <div className="top-side">
          {stats?.is_simulated === true && <span className="badge badge-simulated">Simulated data</span>}
          {stats !== null && (
            <>
              {!stats.is_simulated && <span className="badge">{stats.environment}</span>}
              <span className="badge badge-version">v{stats.version}</span>
            </>
          )}
          <LinkChip client={client} />
          <ThemeToggle />
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <h1 className="visually-hidden">{title}</h1>
        {children}
      </main>
      <footer className="foot">
        <p>
          Numbers are the collector&rsquo;s own. Times are {zone}.
          {stats !== null && ` ${stats.clients === 1 ? "1 viewer" : `${stats.clients} viewers`} connected.`}
        </p>
        <nav aria-label="Raw answers">
          <a href={endpoints.httpUrl("/rl/status")}>Status</a>
          <a href={endpoints.httpUrl("/health")}>Health</a>
          <a href={endpoints.httpUrl("/health/data")}>Ledgers</a>
          <a href={endpoints.httpUrl("/metrics")}>Metrics</a>
          <a href={endpoints.httpUrl("/rl/orderbook/snapshot")}>Books</a>
        </nav>
      </footer>
    </div>
  );
}
