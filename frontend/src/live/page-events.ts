// Tells a LiveClient whether anybody looks and whether there is a network.
import type { LiveClient } from "./client";

/** Follow the page's visibility and the network until the returned function is called. */
export function followPage(client: LiveClient, page: Window): () => void {
  const { document, navigator } = page;
  const see = () => client.setVisible(document.visibilityState === "visible");
  const reach = () => client.setOnline(navigator.onLine);
  see();
  reach();
  document.addEventListener("visibilitychange", see);
  page.addEventListener("online", reach);
  page.addEventListener("offline", reach);
  return () => {
    document.removeEventListener("visibilitychange", see);
    page.removeEventListener("online", reach);
    page.removeEventListener("offline", reach);
  };
}
