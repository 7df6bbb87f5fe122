// What both pages do at last: follow the window, connect, and draw.
import { StrictMode, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import type { LiveClient } from "../live/client";
import { followPage } from "../live/page-events";

export function startPage(client: LiveClient, page: ReactNode): void {
  followPage(client, window);
  client.start();
  const root = document.getElementById("root");
  if (root !== null) {
    createRoot(root).render(<StrictMode>{page}</StrictMode>);
  }
}
