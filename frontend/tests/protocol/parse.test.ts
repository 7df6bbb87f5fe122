// Reading of messages.
import { describe, expect, it } from "vitest";
import { MessageParser } from "../../src/protocol/parse";
import { makeStats } from "../samples";

describe("a message of the stream", () => {
  it("is read when its type is known", () => {
    const message = { type: "stats", data: makeStats() };
    expect(new MessageParser().parse(JSON.stringify(message))).toEqual(message);
  });

  it.each([
    '{"type":"weather","data":{}}',
    '{"type":"constructor","data":{}}',
    '{"type":"stats"}',
    '"stats"',
    "null",
    "{",
    5,
  ])("is ignored and counted when it is %s", (payload) => {
    const parser = new MessageParser();
    expect(parser.parse(payload)).toBeNull();
    expect(parser.ignored).toBe(1);
  });
});
