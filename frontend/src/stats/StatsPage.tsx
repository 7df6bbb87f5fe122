// The page /rl-stats: whether the recording is good, what is wrong if not, and every number of the collector.
import type { LiveClient } from "../live/client";
import { useLink, useStats } from "../live/hooks";
import type { StatsStore } from "../live/stats-store";
import type { DataHealthData } from "../protocol/messages";
import type { SeriesStore } from "../series/series-store";
import { AsOfContext } from "../shared/as-of";
import type { Endpoints } from "../shared/endpoints";
import { hasKey } from "../shared/fetching";
import { Shell } from "../shared/Shell";
import { usePolled } from "../shared/use-polled";
import { judge } from "../shared/verdict";
import { VerdictBanner } from "../shared/VerdictBanner";
import { Charts } from "./Charts";
import { Coverage } from "./Coverage";
import { Integrity, MessageAges, WritePath } from "./Facts";
import { KeyNumbers } from "./KeyNumbers";
import { RecentEvents } from "./RecentEvents";
import { Feeds, Sessions } from "./Tables";

const isDataHealth = hasKey<DataHealthData>("sessions");
const HEALTH_EVERY_MS = 30_000;
const YOUNG_S = 120;

interface StatsPageProps {
  readonly client: LiveClient;
  readonly statsStore: StatsStore;
  readonly seriesStore: SeriesStore;
  readonly endpoints: Endpoints;
}

export function StatsPage({ client, statsStore, seriesStore, endpoints }: StatsPageProps) {
  const link = useLink(client);
  const stats = useStats(statsStore);
  const { httpUrl } = endpoints;
  // What is asked over HTTP follows the live stream: nothing while it is away or the tab hidden, anew after each opening.
  const isActive = link.phase === "open";
  const health = usePolled(httpUrl("/health/data"), isDataHealth, HEALTH_EVERY_MS, link.opens, isActive);
  const isStale = link.isStale && stats !== null;
  return (
    <AsOfContext value={isStale ? stats.server_time_ms : null}>
      <Shell path="/rl-stats" client={client} stats={stats} endpoints={endpoints} isStale={isStale}>
        <VerdictBanner verdict={judge(stats, link)} nowMs={stats?.server_time_ms ?? null} httpUrl={httpUrl} />
        <div className="living">
          <KeyNumbers stats={stats} />
          <Charts
            store={seriesStore}
            tracked={stats?.markets_tracked ?? null}
            httpUrl={httpUrl}
            round={link.opens}
            isActive={isActive}
          />
          <Coverage
            httpUrl={httpUrl}
            round={link.opens}
            isActive={isActive}
            isYoung={stats !== null && stats.uptime_seconds < YOUNG_S}
          />
          {stats !== null && (
            <>
              <div className="trio">
                <WritePath stats={stats} />
                <Integrity stats={stats} health={health} />
                <MessageAges stats={stats} />
              </div>
              <Feeds stats={stats} />
              <Sessions stats={stats} health={health.data} />
              <RecentEvents stats={stats} />
            </>
          )}
        </div>
      </Shell>
    </AsOfContext>
  );
}
