import assert from "node:assert/strict";
import { lanes, open, openWaltz, takes } from "../harness.mjs";

async function mark(page, { shift = false } = {}) {
  const box = await page.locator("#roll").boundingBox();
  if (shift) await page.keyboard.down("Shift");
  await page.mouse.move(box.x + 300, box.y + 120);
  await page.mouse.down();
  await page.mouse.move(box.x + 420, box.y + 320, { steps: 6 });
  await page.mouse.up();
  if (shift) await page.keyboard.up("Shift");
}

export async function a_marked_stretch_is_filled_compared_and_accepted({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await openWaltz(page);
  await mark(page);
  await page.getByRole("button", { name: /^Fill/ }).click();
  await takes(page);
  const figures = await page.locator(".seam-figure").allTextContents();
  assert.equal(figures.length, await lanes(page).count());
  const values = figures.map(Number);
  assert.deepEqual(values, [...values].sort((a, b) => a - b), "the smoothest comes first");
  await page.getByRole("button", { name: "busier" }).click();
  await takes(page);
  await page.getByRole("button", { name: "Accept" }).click();
  assert.match(await page.locator(".head-note").textContent(), /Fill 1/);
  await page.keyboard.press("Control+z");
  await page.getByRole("button", { name: "back" }).click();
  assert.equal(await lanes(page).count(), 0);
  await close();
}

export async function shift_marks_a_band_of_keys({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await openWaltz(page);
  await mark(page, { shift: true });
  assert.match(await page.locator(".chips-note").textContent(), /[A-G][♯♭]?\d and (above|below)/);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".chips").count(), 0);
  await close();
}
