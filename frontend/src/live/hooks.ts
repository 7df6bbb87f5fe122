// The live stream as React sees it: the state of the link, and the newest statistics.
import { useSyncExternalStore } from "react";
import type { StatsData } from "../protocol/messages";
import type { LiveClient } from "./client";
import type { LinkState } from "./link";
import type { StatsStore } from "./stats-store";

export function useLink(client: LiveClient): LinkState {
  return useSyncExternalStore(client.subscribe, client.getLink);
}

export function useStats(store: StatsStore): StatsData | null {
  return useSyncExternalStore(store.subscribe, store.get);
}
