import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { open, opened, shortTakes, takes } from "../harness.mjs";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

async function check(page, where) {
  await page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => 0))));
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, nodes }) => `${where}: ${id} ${nodes.map(({ target }) => target).join(" ")}`);
  assert.deepEqual(told, []);
}

async function everywhere(browser, url, options) {
  const { page, close } = await open(browser, url, options);
  await opened(page);
  // The page's own rules keep scripts of others out; this one comes in by the test's own door.
  const { readFile } = await import("node:fs/promises");
  await page.evaluate(await readFile(AXE, "utf8"));
  await check(page, "first");
  await shortTakes(page, 2);
  await page.keyboard.press("c");
  await takes(page);
  await page.keyboard.press("Space");
  await check(page, "takes");
  for (const name of ["Leave with it", "Look closer", "Make it mine", "Duet", "Settings"]) {
    const tab = page.locator(".rail").getByRole("button", { name });
    await tab.click();
    await page.waitForTimeout(300);
    await check(page, name);
    await tab.click();
  }
  await page.keyboard.press("?");
  await check(page, "keys");
  await close();
}

export const in_the_light = ({ browser, studio }) => everywhere(browser, studio.url, {});

export const in_the_dark = ({ browser, studio }) =>
  everywhere(browser, studio.url, { colorScheme: "dark" });

export const on_a_narrow_screen = ({ browser, studio }) =>
  everywhere(browser, studio.url, { viewport: { width: 390, height: 800 } });
