/** Takes the README's picture: a nocturne, and four ways to go on from its first seconds. */

import { Studio, ROOT, launch, open, opened, shortTakes, takes } from "./harness.mjs";

const studio = await Studio.start();
const browser = await launch();
try {
  const { page, close } = await open(browser, studio.url, { viewport: { width: 1280, height: 760 } });
  await page.addInitScript(() => {
    Math.random = () => 0.42; // the same seed each time
  });
  await page.reload();
  await opened(page);
  await shortTakes(page, 12);
  await page.keyboard.press("c");
  await takes(page);
  await page.keyboard.press("2");
  await page.keyboard.press("Space");
  await page.keyboard.press("End");
  for (let step = 0; step < 9; step++) await page.keyboard.press("ArrowLeft");
  await page.waitForTimeout(500);
  await page.screenshot({ path: `${ROOT}/docs/images/studio.png` });
  await close();
} finally {
  await browser.close();
  await studio.kill();
}
