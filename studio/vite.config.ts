import { copyFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const OUT = here("../arietta/server/static");
const WORKLET = here("node_modules/spessasynth_lib/dist/spessasynth_processor.min.js");

// The page goes into the wheel. The piano bank does not: the server sends the one in its assets.
export default defineConfig({
  base: "./",
  plugins: [
    {
      name: "worklet",
      closeBundle: () => copyFileSync(WORKLET, `${OUT}/spessasynth_processor.js`),
      configureServer: (server) => {
        server.middlewares.use("/spessasynth_processor.js", async (_request, reply) => {
          reply.setHeader("Content-Type", "text/javascript");
          const { readFileSync } = await import("node:fs");
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
  server: {
    proxy: Object.fromEntries(
      ["/v1", "/health", "/piano.sf3"].map((path) => [
        path,
        { target: process.env.ARIETTA_SERVER ?? "http://127.0.0.1:8000", changeOrigin: true },
      ]),
    ),
  },
});
