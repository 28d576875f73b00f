import assert from "node:assert/strict";
import { isSilent, lanes, open, opened, sounds, takes } from "../harness.mjs";

/** Go on with Tab until something has the focus. */
async function tabTo(page, test, limit = 60) {
  for (let step = 0; step < limit; step++) {
    const found = await page.evaluate(() => {
      const { activeElement: element } = document;
      if (element === document.body) return "";
      return `${element?.getAttribute("role") ?? element?.tagName} ${element?.ariaLabel ?? element?.textContent ?? ""} ${element?.id ?? ""}`;
    });
    if (test.test(found)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`Tab does not lead to ${test}`);
}

export async function all_of_it_works_without_a_pointer({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  await tabTo(page, /treeitem/);
  await tabTo(page, /Piano roll/);
  await page.keyboard.press("Space");
  await sounds(page);
  await page.keyboard.press("Space");
  await isSilent(page);
  await tabTo(page, /Seam/);
  await page.keyboard.press("ArrowLeft");
  await tabTo(page, / length$/);
  await page.keyboard.press("Control+a");
  await page.keyboard.type("3");
  await tabTo(page, /BUTTON Continue/);
  await page.keyboard.press("Enter");
  await takes(page);
  await page.keyboard.press("Escape"); // leaves the choice
  await page.keyboard.press("Control+z"); // and comes back
  assert.equal(await lanes(page).count(), 4);
  await tabTo(page, /Take 3 of/);
  await page.keyboard.press("Enter");
  await tabTo(page, /BUTTON Keep/);
  await page.keyboard.press("Enter");
  assert.match(await page.locator(".head-note").textContent(), /Take 3/);
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  await tabTo(page, /treeitem/);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await close();
}
