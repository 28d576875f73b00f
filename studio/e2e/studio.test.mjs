/** Drives the studio as a person would: one server, one browser, a fresh profile for each test. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PROMPTS, Studio, arietta, launch } from "./harness.mjs";
import * as access from "./parts/access.mjs";
import * as closer from "./parts/closer.mjs";
import * as connection from "./parts/connection.mjs";
import * as continuing from "./parts/continue.mjs";
import * as duet from "./parts/duet.mjs";
import * as filling from "./parts/fill.mjs";
import * as frame from "./parts/frame.mjs";
import * as keyboard from "./parts/keyboard.mjs";
import * as leave from "./parts/leave.mjs";
import * as mine from "./parts/mine.mjs";
import * as perform from "./parts/perform.mjs";

const world = {};

before(async () => {
  world.folder = await mkdtemp(join(tmpdir(), "arietta-studio-"));
  const index = join(world.folder, "index");
  await arietta("index", PROMPTS, "-o", index, "--passages", "0");
  world.studio = await Studio.start(["--index", `prompts=${index}`]);
  world.browser = await launch();
});

after(async () => {
  await world.browser?.close();
  await world.studio?.kill();
  if (world.folder) await rm(world.folder, { recursive: true });
});

const parts = { frame, continuing, leave, perform, filling, closer, mine, duet, keyboard, access, connection };
for (const [part, tests] of Object.entries(parts)) {
  for (const [name, run] of Object.entries(tests)) {
    test(`${part}: ${name.replaceAll("_", " ")}`, { timeout: 120_000 }, () => run(world));
  }
}
