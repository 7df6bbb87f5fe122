// Build and development of the two pages: one HTML document each, one shared bundle, into collector/web/dist/.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vitest/config";

const OUT_DIR = fileURLToPath(new URL("../collector/web/dist", import.meta.url));
const page = (name: string) => fileURLToPath(new URL(`${name}.html`, import.meta.url));

/** Writes each script and style sheet a second time, compressed as far as it goes, so that serving costs nothing. */
function compressAssets(): Plugin {
  return {
    name: "compress-assets",
    apply: "build",
    async writeBundle({ dir }) {
      const folder = join(dir ?? OUT_DIR, "assets");
      for (const name of await readdir(folder)) {
        if (/\.(js|css)$/.test(name)) {
          const compressed = gzipSync(await readFile(join(folder, name)), { level: constants.Z_BEST_COMPRESSION });
          await writeFile(join(folder, `${name}.gz`), compressed);
        }
      }
    },
  };
}

// The service that `npm run dev` shows; `collector demo` listens here.
const service = process.env["RL_DEV_SERVICE"] ?? "http://127.0.0.1:8001";

export default defineConfig({
  base: "/",
  plugins: [react(), compressAssets()],
  appType: "mpa",
  build: {
    outDir: OUT_DIR,
    emptyOutDir: true,
    target: "es2022",
    // Everything is a file of its own: the pages' Content-Security-Policy knows no inline code and no data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { "rl-stats": page("rl-stats"), "rl-orderbooks": page("rl-orderbooks") },
      output: { chunkFileNames: "assets/shared-[hash].js" },
    },
  },
  server: {
    proxy: { "^/rl/": { target: service, ws: true }, "^/(health|metrics)": { target: service } },
  },
  test: {
    environment: "jsdom",
    include: ["tests/**/*.test.{ts,tsx}"],
    setupFiles: ["tests/setup.ts"],
    restoreMocks: true,
  },
});
