// Where the collector is: the origin that served the page, or the host that the build names.

export interface Endpoints {
  /** The live stream, with a query. */
  readonly socketUrl: (query?: string) => string;
  /** A path of the collector's HTTP side. */
  readonly httpUrl: (path: string) => string;
}

/**
 * The collector's addresses. `builtFor` is VITE_RL_WS_URL: a whole address such as wss://recorder.example/rl/ws, whose
 * host then answers the HTTP calls too.
 */
export function endpoints(origin: string, builtFor: string | undefined): Endpoints {
  const socket = new URL(builtFor === undefined || builtFor === "" ? "/rl/ws" : builtFor, origin);
  socket.protocol = socket.protocol.replace("http", "ws");
  const http = new URL(socket);
  http.protocol = socket.protocol.replace("ws", "http");
  return {
    socketUrl: (query = "") => `${socket.origin}${socket.pathname}${query}`,
    httpUrl: (path) => new URL(path, http.origin).href,
  };
}
