// The browser's own WebSocket, clock and chance for a LiveClient.
import type { LiveMessage } from "../protocol/messages";
import { LiveClient, type Socket } from "./client";

export function connectLive(url: string, onMessage: (message: LiveMessage) => void): LiveClient {
  return new LiveClient({
    openSocket: () => new WebSocket(url) as Socket,
    now: () => performance.now(),
    random: Math.random,
    onMessage,
  });
}
