// The generated types against the schema that they come from.
import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { makeTypes, TYPES_PATH } from "../../scripts/protocol-types.mjs";

it("the types are what the committed schema says; if not: npm run generate", async () => {
  expect(await readFile(TYPES_PATH, "utf8")).toBe(await makeTypes());
});
