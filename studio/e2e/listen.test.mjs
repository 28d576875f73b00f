/**
 * Drives the page of a listening test from disk, as listeners whose preferences are known, and lets
 * `arietta listen analyse` find them again.
 */

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { PROMPTS, arietta, launch, open } from "./harness.mjs";

const LISTENERS = 3;
// Names that stand in no text of ours, so that the page can be searched for them.
const [GOOD, HUMAN, WEAK, FLOOR] = ["Modell-7", "Rubinstein", "Modell-3", "Rauschen"];
const RANK = { [GOOD]: 3, [HUMAN]: 2, [WEAK]: 1, [FLOOR]: 0 };
const world = {};

before(async () => {
  world.folder = await mkdtemp(join(tmpdir(), "arietta-listen-"));
  const at = (name) => join(world.folder, name);
  const rows = ["item,system_a,a,system_b,b"];
  for (const item of ["waltz", "nocturne"]) {
    const bytes = await readFile(`${PROMPTS}/${item}.mid`);
    for (const who of [GOOD, HUMAN, WEAK]) await writeFile(at(`${who}-${item}.mid`), bytes);
    for (const who of [GOOD, WEAK]) {
      rows.push(`${item},${who},${who}-${item}.mid,${HUMAN},${HUMAN}-${item}.mid`);
    }
  }
  await writeFile(at("pairs.csv"), rows.join("\n"));
  await arietta(
    ...["listen", "build", at("pairs.csv"), "-o", at("test"), "--seconds", "1.5"],
    ...["--human", HUMAN, "--floor", FLOOR],
    ...["--least-seconds", "0.4", "--identical", "1", "--repeats", "1", "--forms", "4"],
  );
  world.key = JSON.parse(await readFile(at("test/key.json"), "utf8"));
  world.url = pathToFileURL(at("test/listen.html")).href;
  world.answers = at("answers");
  world.browser = await launch();
});

after(async () => {
  await world.browser?.close();
  if (world.folder) await rm(world.folder, { recursive: true });
});

/** Return what a listener of known preferences says of a trial. */
function judge({ left, right }) {
  const [a, b] = [left, right].map((id) => RANK[world.key.clips[id].system]);
  return a > b ? "left" : b > a ? "right" : "same";
}

async function hear(page, listener) {
  await page.getByLabel("Your listener number").fill(String(listener));
  await page.getByRole("checkbox").check();
  await page.getByRole("button", { name: "Begin" }).click();
}

/** Pass the headphone check: the test knows which tone is the softest. */
async function tones(page, { loudspeakers = false } = {}) {
  await page.getByRole("heading", { name: "Headphones" }).waitFor();
  for (let number = 1; number <= 6; number++) {
    await page.getByText(`${number} of 6`).waitFor();
    // A tone takes a second; nobody has to wait for it here.
    await page.evaluate(() => {
      AudioBufferSourceNode.prototype.start = function () {
        setTimeout(() => this.onended());
      };
    });
    await page.getByRole("button", { name: "Play the three tones" }).click();
    const right = await page.evaluate(() => softest);
    await page.getByRole("radio").nth(loudspeakers ? (right + 1) % 3 : right).check();
    await page.locator("#tone-next:enabled").click();
  }
}

/** Answer one pair by keys alone. */
async function answer(page, place, form) {
  await page.getByText(`Pair ${place + 1} of ${world.key.forms[form].length}`).waitFor();
  const choices = page.locator("#choices input");
  assert.ok(await choices.first().isDisabled(), "answered before anything was heard");
  for (const [key, side] of [["a", "left"], ["b", "right"]]) {
    await page.keyboard.press(key);
    await page.waitForFunction((name) => enough(name), side);
    await page.keyboard.press(key);
  }
  await page.locator("#choices:enabled").waitFor();
  const choice = judge(world.key.forms[form][place]);
  await page.keyboard.press({ left: "1", same: "2", right: "3" }[choice]);
  assert.equal(await page.locator("input[name=choice]:checked").inputValue(), choice);
  await page.keyboard.press("Enter");
}

async function saved(page, name) {
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name }).click();
  const file = await download;
  await file.saveAs(join(world.answers, file.suggestedFilename()));
}

async function axe(page) {
  const source = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(source);
  const { violations } = await page.evaluate(() => axe.run());
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
}

const whole = async (page, listener, { headphones } = {}) => {
  const form = (listener - 1) % world.key.forms.length;
  await hear(page, listener);
  await tones(page, headphones);
  for (let place = 0; place < world.key.forms[form].length; place++) await answer(page, place, form);
  await page.getByRole("heading", { name: "Thank you" }).waitFor();
};

test("the page names nobody", async () => {
  const html = await readFile(new URL(world.url), "utf8");
  const text = html.replace(/<script type="text\/plain"[^]*?<\/script>/g, "");
  for (const { system, item, source } of Object.values(world.key.clips)) {
    for (const name of [system, item, source]) assert.ok(!text.includes(name), name);
  }
});

test("a listener by keyboard, with a break, is analysed", { timeout: 120_000 }, async () => {
  const { page, close } = await open(world.browser, world.url);
  await axe(page);
  await hear(page, 1);
  await axe(page);
  await tones(page);
  await answer(page, 0, 0);
  await axe(page);
  // Both sides sound, and no louder than each other.
  await page.keyboard.press("a");
  const level = await page.evaluate(async () => {
    const context = new AudioContext(), analyser = context.createAnalyser();
    context.createMediaElementSource(players.left).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    for (let turn = 0; turn < 50; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      analyser.getFloatTimeDomainData(samples);
      const loudest = Math.max(...samples.map(Math.abs));
      if (loudest > 0.005) return loudest;
    }
    return 0;
  });
  assert.ok(level > 0.005, "the pair is silent");
  await page.reload();
  await hear(page, 1);
  for (let place = 1; place < world.key.forms[0].length; place++) await answer(page, place, 0);
  await page.getByRole("heading", { name: "Thank you" }).waitFor();
  await axe(page);
  await saved(page, "Save answers (JSON)");
  await saved(page, "Save answers (CSV)");
  await close();
});

test("what listeners prefer is found again", { timeout: 240_000 }, async () => {
  for (let listener = 2; listener <= LISTENERS; listener++) {
    const { page, close } = await open(world.browser, world.url, { colorScheme: "dark" });
    await axe(page);
    await whole(page, listener, { headphones: { loudspeakers: listener === LISTENERS } });
    await saved(page, listener === 2 ? "Save answers (CSV)" : "Save answers (JSON)");
    await close();
  }
  const { stdout } = await arietta(
    ...["listen", "analyse", world.answers, "--json"],
    ...["--key", join(world.folder, "test/key.json")],
  );
  const found = JSON.parse(stdout);
  assert.deepEqual(found.refused, []);
  assert.equal(found.listeners, LISTENERS);
  const counts = found.comparisons.map(({ system, other, wins, ties, losses }) => [
    ...[system, other], wins, ties, losses,
  ]);
  const all = 2 * LISTENERS;
  assert.deepEqual(counts, [
    [WEAK, HUMAN, 0, 0, all],
    [GOOD, HUMAN, all, 0, 0],
    [HUMAN, FLOOR, all, 0, 0],
  ]);
  assert.equal(found.strengths[0].system, GOOD);
  assert.ok(Math.abs(found.comparisons[0].p_value - 2 / 2 ** all) < 1e-12);
  const { reliability } = found;
  assert.equal(reliability.repeats_same, LISTENERS);
  assert.equal(reliability.identical_same, LISTENERS);
  assert.deepEqual([reliability.headphones_passed, reliability.headphones_failed], [LISTENERS - 1, 1]);
  assert.deepEqual(found.doubtful, [{ listener: LISTENERS, reason: "the headphone check failed" }]);
});

test("another computer goes on from a saved file", { timeout: 60_000 }, async () => {
  const first = await open(world.browser, world.url);
  await hear(first.page, 5);
  await tones(first.page);
  await answer(first.page, 0, 0);
  await saved(first.page, "Save answers so far");
  await first.close();
  const { page, close } = await open(world.browser, world.url);
  const half = join(world.answers, `listener-5-${world.key.test}.json`);
  await page.getByLabel("Go on from a saved file").setInputFiles(half);
  await answer(page, 1, 0);
  await page.reload();
  await writeFile(join(world.folder, "none.json"), JSON.stringify({ test: "another", answers: [] }));
  await page.getByLabel("Go on from a saved file").setInputFiles(join(world.folder, "none.json"));
  await page.getByText("That file holds no answers to this test.").waitFor();
  await close();
});
