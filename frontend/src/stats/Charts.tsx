// The live charts of the last 15 minutes.
import { useEffect, useSyncExternalStore } from "react";
import type { SeriesData, StatsData } from "../protocol/messages";
import type { SeriesStore } from "../series/series-store";
import { hasKey } from "../shared/fetching";
import { formatCount, formatMs, formatRate } from "../shared/format";
import { usePolled } from "../shared/use-polled";
import { LiveChart } from "./LiveChart";

const isSeries = hasKey<SeriesData>("messages_per_second");
/** The ages of each second's own messages come only this way; `stats` has those of the last minute. */
const EVERY_MS = 10_000;

interface ChartsProps {
  readonly store: SeriesStore;
  readonly stats: StatsData | null;
  readonly httpUrl: (path: string) => string;
  readonly round: number;
  readonly isActive: boolean;
}

export function Charts({ store, stats, httpUrl, round, isActive }: ChartsProps) {
  const { data, error } = usePolled(httpUrl("/rl/series"), isSeries, EVERY_MS, round, isActive);
  useEffect(() => {
    if (data !== null) {
      store.seed(data);
    }
  }, [store, data]);
  const { endS, values } = useSyncExternalStore(store.subscribe, store.get);
  return (
    <section className="charts" aria-label="Last 15 minutes">
      {error !== "" && <p className="panel-note tone-degraded">What was before this page opened is missing: {error}</p>}
      <LiveChart
        title="Message rate"
        unit="per second"
        endS={endS}
        values={values.messages_per_second}
        format={formatRate}
        now={stats?.messages_per_second ?? null}
      />
      <LiveChart
        title="Arrival to database"
        unit="99 in 100 within"
        endS={endS}
        values={values.commit_p99_ms}
        format={formatMs}
        now={stats?.ages_ms.receive_to_commit.p99 ?? null}
      />
      <LiveChart
        title="Exchange to arrival"
        unit="99 in 100 within"
        endS={endS}
        values={values.age_p99_ms}
        format={formatMs}
        now={stats?.ages_ms.exchange_to_receive.p99 ?? null}
      />
      <LiveChart
        title="Exact books"
        unit={stats === null ? "" : `of ${formatCount(stats.markets_tracked)}`}
        endS={endS}
        values={values.exact_markets}
        format={formatCount}
        isWhole
        now={stats?.markets_active ?? null}
      />
    </section>
  );
}
