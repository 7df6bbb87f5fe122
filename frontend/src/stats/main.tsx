// Starts /rl-stats: one connection that brings statistics only.
import { connectLive } from "../live/connect";
import { StatsStore } from "../live/stats-store";
import { SeriesStore } from "../series/series-store";
import { endpoints as endpointsOf } from "../shared/endpoints";
import { startPage } from "../shared/start-page";
import { applyTheme, readTheme } from "../shared/theme";
import { StatsPage } from "./StatsPage";
import "./stats.css";

applyTheme(readTheme());

const endpoints = endpointsOf(window.location.origin, import.meta.env["VITE_RL_WS_URL"] as string | undefined);
const statsStore = new StatsStore();
const seriesStore = new SeriesStore();
const client = connectLive(endpoints.socketUrl("?streams=stats"), (message) => {
  if (message.type === "stats") {
    statsStore.put(message.data);
    seriesStore.note(message.data.newest_second);
  }
});
startPage(
  client,
  <StatsPage client={client} statsStore={statsStore} seriesStore={seriesStore} endpoints={endpoints} />,
);
