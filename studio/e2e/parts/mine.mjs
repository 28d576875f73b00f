import { readFile } from "node:fs/promises";
import { PROMPTS, drop, open, opened } from "../harness.mjs";

export async function a_folder_is_trained_on_and_can_be_paused_and_cancelled({ browser, studio }) {
  const { page, close } = await open(browser, studio.url);
  await opened(page);
  const names = ["classical", "nocturne", "pokey_jazz", "smooth_jazz", "waltz"];
  const files = await Promise.all(
    names.map(async (name) => ({
      name: `${name}.mid`,
      base64: (await readFile(`${PROMPTS}/${name}.mid`)).toString("base64"),
    })),
  );
  files.push({ name: "broken.mid", base64: Buffer.from("no music").toString("base64") });
  await drop(page, files);
  await page.getByRole("progressbar", { name: "Training" }).waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByText("Cancelled", { exact: true }).waitFor();
  await close();
}
