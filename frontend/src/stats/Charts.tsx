// The live charts of the last 15 minutes. Each shows its newest second in words too.
import { useEffect, useSyncExternalStore } from "react";
import type { SeriesData } from "../protocol/messages";
import type { SeriesStore } from "../series/series-store";
import { hasKey } from "../shared/fetching";
import { formatCount, formatMs, formatRate } from "../shared/format";
import { usePolled } from "../shared/use-polled";
import { LiveChart } from "./LiveChart";

const isSeries = hasKey<SeriesData>("messages_per_second");

interface ChartsProps {
  readonly store: SeriesStore;
  /** How many books could be exact; null before the first numbers. */
  readonly tracked: number | null;
  readonly httpUrl: (path: string) => string;
  readonly round: number;
  readonly isActive: boolean;
}

export function Charts({ store, tracked, httpUrl, round, isActive }: ChartsProps) {
  // Asked once for each connection: from there on, every second comes live.
  const { data, error } = usePolled(httpUrl("/rl/series"), isSeries, null, round, isActive);
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
        unit="last second"
        endS={endS}
        values={values.messages_per_second}
        format={formatRate}
      />
      <LiveChart
        title="Arrival to database"
        unit="p99, last second"
        endS={endS}
        values={values.commit_p99_ms}
        format={formatMs}
      />
      <LiveChart
        title="Exchange to arrival"
        unit="p99, last second"
        endS={endS}
        values={values.age_p99_ms}
        format={formatMs}
      />
      <LiveChart
        title="Exact books"
        unit={tracked === null ? "" : `of ${formatCount(tracked)}`}
        endS={endS}
        values={values.exact_markets}
        format={formatCount}
        isWhole
      />
    </section>
  );
}
