// `npm run generate`: writes src/protocol/messages.ts from schema/dashboard.json.
import { writeFile } from "node:fs/promises";
import { makeTypes, TYPES_PATH } from "./protocol-types.mjs";

await writeFile(TYPES_PATH, await makeTypes());
