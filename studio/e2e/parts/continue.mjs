import assert from "node:assert/strict";
import {
  drop,
  isSilent,
  lanes,
  longestGap,
  now,
  open,
  opened,
  shortTakes,
  sounds,
  takes,
} from "../harness.mjs";
import { SCORE } from "../score.mjs";

export async function takes_come_sound_and_can_be_chosen_kept_and_dropped({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await shortTakes(page);
  const asked = await now(page);
  await page.getByRole("button", { name: /^Continue/ }).click();
  await sounds(page);
  const first = await page.evaluate(() => heard.find(({ level }) => level > 1e-3).at);
  console.log(`sound ${Math.round(first - asked)} ms after Continue`);
  await takes(page);
  assert.equal(await lanes(page).count(), 4);
  assert.equal(await page.locator(".measure").count(), 12);
  assert.match(await lanes(page).first().textContent(), /in time \d+ %.*seed \d+/);

  // Another take sounds at the same musical moment, without a gap.
  await page.keyboard.press("Home");
  await page.keyboard.press("End");
  for (let back = 0; back < 4; back++) await page.keyboard.press("Shift+ArrowLeft");
  if ((await page.getByRole("button", { name: "Play" }).count()) === 1) await page.keyboard.press("Space");
  await sounds(page);
  const since = await now(page);
  for (const key of ["2", "3", "1"]) {
    await page.keyboard.press(key);
    await page.waitForTimeout(350);
  }
  const gap = await longestGap(page, since);
  console.log(`longest gap over three switches ${Math.round(gap)} ms`);
  // 30 ms is what is wanted, and printed above; a busy machine may lose more, a restart loses most.
  assert.ok(gap < 600, `${gap} ms of silence`);
  await page.keyboard.press("Space");
  await isSilent(page);

  await page.keyboard.press("Delete");
  assert.equal(await lanes(page).count(), 3);
  await page.keyboard.press("Control+z");
  assert.equal(await lanes(page).count(), 4);
  await page.keyboard.press("2");
  await page.keyboard.press("Enter");
  assert.equal(await lanes(page).count(), 0);
  assert.match(await page.locator(".head-note").textContent(), /Take 2/);
  assert.equal(await page.locator("[role=treeitem]").count(), 5);
  assert.match(await page.locator(".big").textContent(), /Continue/);
  await close();
}

export async function a_kept_take_goes_on_and_ends({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await shortTakes(page, 3);
  await page.keyboard.press("c");
  await takes(page);
  await page.keyboard.press("c"); // goes on from the chosen take
  await page.waitForFunction(() => document.querySelectorAll("[role=treeitem]").length >= 9, null, {
    timeout: 45_000,
  });
  await takes(page);
  await page.keyboard.press("Enter");
  await page.keyboard.press("e");
  await takes(page, 1);
  const deepest = await page.evaluate(() =>
    Math.max(...[...document.querySelectorAll("[role=treeitem]")].map((row) => Number(row.ariaLevel))),
  );
  assert.equal(deepest, 4);
  await close();
}

export async function the_seam_snaps_and_undo_puts_it_back({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await drop(page, [{ name: "minuet.musicxml", base64: Buffer.from(SCORE).toString("base64") }]);
  await page.getByText(/^score ·/).waitFor();
  await page.waitForTimeout(600); // the autosave settles
  const beats = await page.evaluate(async () => {
    const { sheets } = await new Promise((resolve) => {
      const opening = indexedDB.open("arietta-studio");
      opening.onsuccess = () => {
        const all = opening.result.transaction("sheets").objectStore("sheets").getAll();
        all.onsuccess = () => resolve({ sheets: all.result });
      };
    });
    return sheets.find(({ music }) => music.isScore).music.beats;
  });
  const seam = page.getByRole("slider", { name: /^Seam/ });
  const at = async () => Number(await seam.getAttribute("aria-valuenow"));
  const end = await at();
  await page.keyboard.press("End");
  const box = await seam.boundingBox();
  await page.mouse.move(box.x + 9, box.y + 15);
  await page.mouse.down();
  await page.mouse.move(box.x - 120, box.y + 40, { steps: 5 });
  await page.mouse.up();
  const moved = await at();
  assert.ok(moved < end);
  const away = (seconds) => Math.min(...beats.map((beat) => Math.abs(beat - seconds)));
  assert.ok(away(moved) < 0.06, `${moved} is no beat`);
  await seam.focus();
  await page.keyboard.press("ArrowLeft");
  assert.ok((await at()) < moved && away(await at()) < 0.06);
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+z");
  assert.equal(await at(), end);
  await close();
}

export async function drawing_can_be_stopped({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await shortTakes(page, 120);
  await page.keyboard.press("c");
  await page.getByRole("button", { name: /^Stop/ }).click();
  await page.getByRole("button", { name: /^Continue/ }).waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  await close();
}
