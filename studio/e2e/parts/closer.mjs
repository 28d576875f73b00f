import assert from "node:assert/strict";
import { open, openWaltz, opened } from "../harness.mjs";

export async function surprise_leads_from_note_to_note_and_style_is_named({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await openWaltz(page);
  await page.getByRole("button", { name: "Look closer" }).click();
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

export async function a_dot_of_the_map_opens_and_what_is_alike_is_found({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await page.getByRole("button", { name: "Look closer" }).click();
  await page.locator(".map-dot").nth(4).waitFor();
  await page.getByRole("button", { name: "Find its style" }).click();
  await page.locator(".matches button").first().waitFor();
  assert.match(await page.locator(".matches button").first().textContent(), /[a-z]+.*\d\.\d\d/);
  await page.locator(".map-dot[aria-label=waltz]").press("Enter");
  await page.getByRole("button", { name: "Like this" }).click();
  await page.getByRole("button", { name: /^like waltz/ }).waitFor();
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: "waltz" }).waitFor();
  await close();
}
