import assert from "node:assert/strict";
import { lanes, open, openWaltz, shortTakes, takes } from "../harness.mjs";

/** Last: it ends the server in the middle, and starts it again. */
export async function a_server_that_dies_in_mid_take_loses_nothing({ browser, studio }) {
  const { page, context, faults } = await open(browser, studio.url);
  await openWaltz(page);
  await shortTakes(page, 12);
  await page.keyboard.press("c");
  await page.waitForFunction(() => document.querySelector("[data-word=Stop]"));
  await page.waitForTimeout(300);
  await studio.kill();
  await page.getByText("Nothing is lost; trying again").waitFor();
  assert.equal(await page.getByRole("treeitem").count() >= 1, true);
  await studio.up();
  await takes(page);
  assert.equal(await lanes(page).count(), 4);
  await page.getByText("Nothing is lost; trying again").waitFor({ state: "hidden" });
  // The browser reports requests that found nobody; nothing else may be reported.
  assert.deepEqual(
    faults.filter((fault) => !/net::ERR|Failed to load resource/.test(fault)),
    [],
  );
  await context.close();
}
