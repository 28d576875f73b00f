import assert from "node:assert/strict";
import { open, opened } from "../harness.mjs";

export async function surprise_leads_from_note_to_note_and_style_is_named({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await page.getByRole("button", { name: "Look closer" }).click();
  await page.getByText("No collection is open").waitFor();
  await page.getByRole("button", { name: "Colour by surprise" }).click();
  await page.getByRole("button", { name: "Colours off" }).waitFor();
  const cursor = () =>
    page.getByRole("slider", { name: /Piano roll/ }).getAttribute("aria-valuenow").then(Number);
  await page.keyboard.press("n");
  const first = await cursor();
  await page.keyboard.press("n");
  const second = await cursor();
  assert.ok(first > 0 && second !== first);
  await page.getByRole("button", { name: "Classify" }).click();
  await page.locator(".labels li").first().waitFor();
  assert.match(await page.locator(".labels li").first().textContent(), /\d+ %/);
  await close();
}
