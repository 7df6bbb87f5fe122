// Makes TypeScript types of the JSON Schema that Python printed. Shared by `npm run generate` and the drift test.
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile } from "json-schema-to-typescript";

const here = dirname(fileURLToPath(import.meta.url));
export const SCHEMA_PATH = join(here, "../schema/dashboard.json");
export const TYPES_PATH = join(here, "../src/protocol/messages.ts");

const BANNER = `// Generated from schema/dashboard.json by \`npm run generate\`; a test fails when it is out of date. Don't edit.
`;

/** The text of src/protocol/messages.ts as the committed schema wants it. */
export async function makeTypes() {
  const schema = JSON.parse(await readFile(SCHEMA_PATH, "utf8"));
  return await compile(schema, "Dashboard", {
    additionalProperties: false,
    bannerComment: BANNER,
    unreachableDefinitions: true,
  });
}
