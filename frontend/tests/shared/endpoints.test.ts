// Where the page finds the collector.
import { expect, it } from "vitest";
import { endpoints } from "../../src/shared/endpoints";

it("the page talks to the origin that served it", () => {
  const { socketUrl, httpUrl } = endpoints("https://recorder.example", undefined);
  expect(socketUrl("?streams=stats")).toBe("wss://recorder.example/rl/ws?streams=stats");
  expect(httpUrl("/rl/series")).toBe("https://recorder.example/rl/series");
});

it("or to the host that it was built for, over HTTP too", () => {
  const { socketUrl, httpUrl } = endpoints("http://localhost:5173", "wss://far.example:8443/rl/ws");
  expect(socketUrl()).toBe("wss://far.example:8443/rl/ws");
  expect(httpUrl("/rl/coverage?minutes=15")).toBe("https://far.example:8443/rl/coverage?minutes=15");
});
