import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { open, openWaltz, shortTakes, takes } from "../harness.mjs";

const MIB = 2 ** 20;

async function saved(page, name) {
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name, exact: true }).click(),
  ]);
  return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
}

const begins = (bytes, text) => bytes.subarray(0, text.length).toString("latin1") === text;

export async function midi_sound_and_postcard_leave({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await openWaltz(page);
  await shortTakes(page, 3);
  await page.keyboard.press("c");
  await takes(page);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Leave with it" }).click();
  const whole = await saved(page, "Download");
  assert.match(whole.name, /^waltz.*\.mid$/);
  assert.ok(begins(whole.bytes, "MThd"));
  const part = await saved(page, "Download the new part");
  assert.ok(begins(part.bytes, "MThd"));
  assert.ok(part.bytes.length < whole.bytes.length / 2);
  assert.ok(begins((await saved(page, "WAV")).bytes, "RIFF"));
  assert.ok(begins((await saved(page, "FLAC")).bytes, "fLaC"));
  const mp3 = (await saved(page, "MP3")).bytes;
  assert.ok(mp3[0] === 0xff || begins(mp3, "ID3"));

  const dragged = await page.locator(".draggable").first().evaluate((element) => {
    const dataTransfer = new DataTransfer();
    element.dispatchEvent(new DragEvent("dragstart", { dataTransfer, bubbles: true }));
    return dataTransfer.getData("DownloadURL");
  });
  assert.match(dragged, /^audio\/midi:waltz.*\.mid:blob:/);

  const card = await saved(page, "Write a postcard");
  assert.ok(card.bytes.length < 6 * MIB);
  const html = card.bytes.toString();
  assert.ok(!/(src|href)="?https?:/.test(html), "a postcard needs nothing from elsewhere");
  assert.match(html, /waltz/);
  await close();
}
