// Starts /rl-stats: one connection that brings statistics only.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { connectLive } from "../live/connect";
import { followPage } from "../live/page-events";
import { StatsStore } from "../live/stats-store";
import { SeriesStore } from "../series/series-store";
import { endpoints as endpointsOf } from "../shared/endpoints";
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
followPage(client, window);
client.start();

const root = document.getElementById("root");
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <StatsPage client={client} statsStore={statsStore} seriesStore={seriesStore} endpoints={endpoints} />
    </StrictMode>,
  );
}
