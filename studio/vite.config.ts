import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const OUT = here("../arietta/server/static");
const WORKLET = here("node_modules/spessasynth_lib/dist/spessasynth_processor.min.js");
const SHIPPED = [
  "preact",
  "@preact/signals",
  "@preact/signals-core",
  "spessasynth_lib",
  "spessasynth_core",
  "@fontsource-variable/instrument-sans",
  "@fontsource/instrument-serif",
];

/** Return the licences of what the page is made of; they go where it goes. */
const licences = () =>
  SHIPPED.map((name) => {
    const { version } = JSON.parse(readFileSync(here(`node_modules/${name}/package.json`), "utf8"));
    const text = readFileSync(here(`node_modules/${name}/LICENSE`), "utf8").trim();
    return `${name} ${version}\n\n${text}\n`;
  }).join(`\n${"-".repeat(80)}\n\n`);

let out = OUT;

// The page goes into the wheel. The piano bank does not: the server sends the one in its assets.
export default defineConfig({
  base: "./",
  plugins: [
    {
      name: "beside-the-page",
      configResolved: (config) => {
        out = config.build.outDir;
      },
      closeBundle: () => {
        copyFileSync(WORKLET, `${out}/spessasynth_processor.js`);
        writeFileSync(`${out}/licences.txt`, licences());
      },
      configureServer: (server) => {
        server.middlewares.use("/spessasynth_processor.js", (_request, reply) => {
          reply.setHeader("Content-Type", "text/javascript");
          reply.end(readFileSync(WORKLET));
        });
      },
    },
  ],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    sourcemap: false,
    target: "es2022",
    chunkSizeWarningLimit: 900,
    rollupOptions: {
      output: {
        entryFileNames: "studio.js",
        chunkFileNames: "[name].js",
        assetFileNames: "[name][extname]",
      },
    },
  },
  test: { include: ["tests/**/*.test.ts"] },
  server: {
    proxy: Object.fromEntries(
      ["/v1", "/health", "/piano.sf3"].map((path) => [
        path,
        { target: process.env.ARIETTA_SERVER ?? "http://127.0.0.1:8000", changeOrigin: true },
      ]),
    ),
  },
});
