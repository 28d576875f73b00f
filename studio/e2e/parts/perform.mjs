import assert from "node:assert/strict";
import { drop, lanes, isSilent, now, open, opened, sounds, takes } from "../harness.mjs";
import { SCORE } from "../score.mjs";

export async function a_score_is_performed_and_compared({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await drop(page, [{ name: "minuet.musicxml", base64: Buffer.from(SCORE).toString("base64") }]);
  await page.getByText(/^score ·/).waitFor();
  await page.getByRole("button", { name: /^Perform/ }).click();
  await takes(page);
  const seconds = async () => page.locator(".tree-row[aria-selected=true] .tree-note").textContent();
  const played = await seconds();
  await page.keyboard.press("Home");
  await page.keyboard.press("Space");
  await sounds(page);
  await page.keyboard.press("a");
  await page.getByRole("button", { name: /as written/, pressed: true }).waitFor();
  await sounds(page);
  await page.keyboard.press("a");
  await page.keyboard.press("Space");
  await isSilent(page);

  const rubato = page.getByRole("slider", { name: "rubato" });
  const asked = await now(page);
  const answered = page.waitForResponse((reply) => reply.url().endsWith("/v1/render"));
  await rubato.fill("0");
  await answered;
  console.log(`slider to notes ${Math.round((await now(page)) - asked)} ms`);
  assert.equal(await lanes(page).count(), 4);
  assert.ok(played.length > 0);
  await page.keyboard.press("Escape");
  await close();
}
