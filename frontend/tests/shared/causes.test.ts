// Causes as people read them.
import { describe, expect, it } from "vitest";
import { causeWords } from "../../src/shared/causes";

describe("the words for a cause", () => {
  it("are plain, and tell how a session ended where that is the cause", () => {
    expect(["sequence", "unfollowed", "a_new_name", "the service stops"].map(causeWords)).toEqual([
      "messages missing",
      "not followed any more",
      "a new name",
      "session ended: the service stops",
    ]);
  });
});
