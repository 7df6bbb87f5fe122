// Starts /rl-orderbooks: one connection that brings every book, and the statistics for the verdict.
import { BookStore } from "../books/book-store";
import { connectLive } from "../live/connect";
import { StatsStore } from "../live/stats-store";
import type { LiveMessage } from "../protocol/messages";
import { endpoints as endpointsOf } from "../shared/endpoints";
import { startPage } from "../shared/start-page";
import { applyTheme, readTheme } from "../shared/theme";
import { OrderbooksPage } from "./OrderbooksPage";
import "./orderbooks.css";

applyTheme(readTheme());

const endpoints = endpointsOf(window.location.origin, import.meta.env["VITE_RL_WS_URL"] as string | undefined);
const statsStore = new StatsStore();
const bookStore = new BookStore(() => performance.now());

function take(message: LiveMessage): void {
  switch (message.type) {
    case "connection":
      bookStore.connected(message.data);
      break;
    case "orderbook_snapshot":
      bookStore.snapshot(message.data);
      break;
    case "orderbook_delta":
      bookStore.delta(message.data);
      break;
    case "stats":
      statsStore.put(message.data);
      bookStore.tellTime(message.data.server_time_ms);
      break;
    case "error":
      break;
  }
}

const client = connectLive(endpoints.socketUrl(), take);
startPage(
  client,
  <OrderbooksPage client={client} statsStore={statsStore} bookStore={bookStore} endpoints={endpoints} />,
);
