// The keys of a virtual list.
import { expect, it } from "vitest";
import { nextRow } from "../../src/shared/row-focus";

it("keys lead from row to row, and stop at the ends", () => {
  const from5 = (key: string) => nextRow(key, 5, 20);
  expect(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End", "x"].map(from5)).toEqual([
    6,
    4,
    15,
    0,
    0,
    19,
    null,
  ]);
  expect(nextRow("ArrowDown", 19, 20)).toBe(19);
});
