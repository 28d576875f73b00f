import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { PROMPTS, drop, isSilent, now, open, openWaltz, opened, sounds } from "../harness.mjs";

const rows = (page) => page.getByRole("treeitem");
const cursor = async (page) =>
  Number(await page.getByRole("slider", { name: /Piano roll/ }).getAttribute("aria-valuenow"));

export async function opens_with_a_nocturne_and_plays_it({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  assert.equal(await rows(page).count(), 1);
  const clicked = await now(page);
  await page.getByRole("button", { name: "Play" }).click();
  await sounds(page);
  const first = await page.evaluate(() => heard.find(({ level }) => level > 1e-3).at);
  console.log(`first sound ${Math.round(first - clicked)} ms after the click`);
  await page.keyboard.press("Space");
  await isSilent(page);
  assert.ok((await cursor(page)) > 0.5);
  await close();
}

export async function keys_move_by_beat_and_bar({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await page.keyboard.press("ArrowRight");
  const beat = await cursor(page);
  await page.keyboard.press("Home");
  assert.equal(await cursor(page), 0);
  await page.keyboard.press("Shift+ArrowRight");
  const bar = await cursor(page);
  assert.ok(beat > 0 && bar > beat, `${beat} ${bar}`);
  await page.keyboard.press("ArrowLeft");
  assert.ok((await cursor(page)) < bar);
  await close();
}

export async function the_wheel_scrolls_and_zooms({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  const roll = page.locator("#roll");
  await roll.click({ position: { x: 500, y: 200 } });
  const before = await cursor(page);
  await page.mouse.wheel(0, 400);
  await roll.click({ position: { x: 500, y: 200 } });
  const after = await cursor(page);
  assert.ok(after > before + 1);
  await page.keyboard.down("Control");
  await page.mouse.wheel(0, -300);
  await page.keyboard.up("Control");
  await roll.click({ position: { x: 500, y: 200 } });
  // What was under the pointer stays there.
  assert.ok(Math.abs((await cursor(page)) - after) < 0.3);
  await close();
}

export async function a_dropped_file_opens_and_all_is_kept_over_a_reload({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  const base64 = (await readFile(`${PROMPTS}/waltz.mid`)).toString("base64");
  await drop(page, [{ name: "waltz.mid", base64 }]);
  await page.getByRole("treeitem", { name: /waltz/i }).waitFor();
  const title = await page.getByRole("heading", { level: 1 }).textContent();
  await page.waitForTimeout(600); // the autosave settles
  await page.reload();
  await page.getByRole("heading", { level: 1, name: title }).waitFor();
  assert.equal(await rows(page).count(), 2);
  await rows(page).first().click();
  await opened(page);
  await page.keyboard.press("Control+z");
  assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), title);
  await close();
}

export async function a_project_goes_through_its_file({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  const saved = page.waitForEvent("download");
  await page.keyboard.press("Control+s");
  const download = await saved;
  assert.match(download.suggestedFilename(), /\.arietta$/);
  const base64 = (await readFile(await download.path())).toString("base64");
  await close();
  const other = await open(browser, studio.url);
  await opened(other.page);
  await drop(other.page, [{ name: "project.arietta", base64 }]);
  await other.page.waitForFunction(() => document.querySelectorAll("[role=treeitem]").length === 2);
  await other.close();
}

export async function what_cannot_be_read_is_told_with_its_mend({ browser, studio }) {
  const { page, faults, context } = await open(browser, studio.url);
  await opened(page);
  await drop(page, [{ name: "broken.mid", base64: Buffer.from("no music").toString("base64") }]);
  const alert = page.getByRole("alert");
  await alert.waitFor();
  assert.ok((await alert.locator(".notice-mend").textContent()).length > 10);
  await drop(page, [{ name: "holiday.png", base64: "" }]);
  await page.getByText("holiday.png is not music").waitFor();
  // The browser itself reports the refused request; nothing else may be reported.
  assert.deepEqual(
    faults.filter((fault) => !/status of 4\d\d/.test(fault)),
    [],
  );
  await context.close();
}

export async function without_a_worklet_the_servers_rendering_plays({ browser, studio }) {
  const { page, close } = await open(browser, studio.url, {
    before: () => {
      delete globalThis.AudioWorkletNode;
      delete BaseAudioContext.prototype.audioWorklet;
    },
  });
  await page.getByText("This page plays the server's rendering").waitFor();
  await openWaltz(page);
  await page.evaluate(() => {
    const Plain = Audio;
    globalThis.Audio = function (...given) {
      globalThis.player = new Plain(...given);
      return globalThis.player;
    };
  });
  await page.getByRole("button", { name: "Play" }).click();
  await page.waitForFunction(() => globalThis.player?.currentTime > 0.3);
  await page.keyboard.press("Space");
  assert.ok(await page.evaluate(() => globalThis.player.paused));
  await close();
}
