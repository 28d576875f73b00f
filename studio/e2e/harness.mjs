/**
 * Starts the studio and a browser, and fails a test on any console error or foreign request.
 *
 * One browser serves all tests; each gets a fresh profile. The browser hears: everything that goes
 * to the loudspeakers is recorded, so that a test can tell sound from silence.
 */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const ARIETTA = process.env.ARIETTA ?? `${ROOT}/.venv/bin/arietta`;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
];
export const PROMPTS = `${ROOT}/arietta/assets/prompts`;
export const LOUD = 0.005;

/** Run a command of the package. */
export const arietta = (...words) => promisify(execFile)(ARIETTA, words);

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Studio {
  process = null;

  static async start(options = []) {
    const studio = new Studio();
    studio.options = options;
    studio.port = await freePort();
    studio.url = `http://127.0.0.1:${studio.port}/`;
    await studio.up();
    return studio;
  }

  /** Start the server and wait until it answers. */
  async up() {
    const { port, options } = this;
    const child = spawn(ARIETTA, ["studio", "--no-browser", "--port", String(port), ...options], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += text));
    this.process = child;
    for (;;) {
      if (child.exitCode !== null) throw new Error(`arietta studio ended: ${said}`);
      try {
        const reply = await fetch(`${this.url}health`);
        if (reply.ok && (await reply.json()).ready) return;
      } catch {
        // It does not listen yet.
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** End the server at once, in the middle of whatever it does. */
  async kill() {
    const { process: child } = this;
    if (!child || child.exitCode !== null) return;
    const over = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await over;
  }
}

export const launch = () => chromium.launch({ executablePath: CHROMIUM, args: FLAGS });

/** Runs in the page before its own code: records what goes to the loudspeakers. */
function listenIn() {
  const connect = AudioNode.prototype.connect;
  const recorded = [];
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target === this.context.destination && !this.isTap) {
      const tap = this.context.createScriptProcessor(512, 2, 1);
      tap.isTap = true;
      tap.onaudioprocess = ({ inputBuffer }) => {
        const left = inputBuffer.getChannelData(0);
        let sum = 0;
        for (const sample of left) sum += sample * sample;
        recorded.push({ at: performance.now(), level: Math.sqrt(sum / left.length) });
      };
      connect.call(this, tap);
      connect.call(tap, this.context.destination);
    }
    return connect.call(this, target, ...rest);
  };
  globalThis.heard = recorded;
}

/** Open the page in a fresh profile and watch it. */
export async function open(browser, url, { viewport, colorScheme, before, path = "" } = {}) {
  const context = await browser.newContext({
    viewport: viewport ?? { width: 1360, height: 850 },
    colorScheme: colorScheme ?? "light",
    acceptDownloads: true,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const faults = [];
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`page: ${error.message}`));
  page.on("request", (request) => {
    const address = request.url();
    if (!address.startsWith(url) && !/^(data|blob):/.test(address)) faults.push(`foreign: ${address}`);
  });
  await page.addInitScript(listenIn);
  if (before) await page.addInitScript(before);
  await page.goto(url + path);
  return {
    page,
    context,
    faults,
    close: async () => {
      await context.close();
      assert.deepEqual(faults, []);
    },
  };
}

export const opened = (page) => page.getByRole("heading", { level: 1, name: "Nocturne" }).waitFor();

/** Open the shortest of the shipped prompts. */
export async function openWaltz(page) {
  await opened(page);
  const base64 = (await readFile(`${PROMPTS}/waltz.mid`)).toString("base64");
  await drop(page, [{ name: "waltz.mid", base64 }]);
  await page.getByRole("heading", { level: 1, name: "waltz" }).waitFor();
}

/** Return the loudest of the last moments. */
export const level = (page, milliseconds = 300) =>
  page.evaluate((span) => {
    const since = performance.now() - span;
    return Math.max(0, ...heard.filter(({ at }) => at >= since).map(({ level }) => level));
  }, milliseconds);

export async function sounds(page) {
  await page.waitForFunction((loud) => heard.at(-1)?.level > loud, LOUD);
}

export async function isSilent(page) {
  await page.waitForTimeout(700);
  assert.ok((await level(page)) < 1e-3, "it still sounds after the stop");
}

/** Return the longest stretch of near-silence, in ms, since a moment of the page's clock. */
export const longestGap = (page, since) =>
  page.evaluate((from) => {
    let longest = 0;
    let began = null;
    for (const { at, level } of heard) {
      if (at < from) continue;
      if (level > 5e-4) began = null;
      else {
        began ??= at;
        longest = Math.max(longest, at - began);
      }
    }
    return longest;
  }, since);

export const now = (page) => page.evaluate(() => performance.now());

/** Drop files on the page as a person would. */
export async function drop(page, files, selector = ".roll") {
  const transfer = await page.evaluateHandle((all) => {
    const data = new DataTransfer();
    for (const { name, base64 } of all) {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      data.items.add(new File([bytes], name));
    }
    return data;
  }, files);
  await page.dispatchEvent(selector, "dragover", { dataTransfer: transfer });
  await page.dispatchEvent(selector, "drop", { dataTransfer: transfer });
}

export const lanes = (page) => page.locator(".lane-body");

/** Ask for short takes, so that a test is short. */
export async function shortTakes(page, seconds = 5) {
  await page.getByLabel("Length", { exact: true }).fill(String(seconds));
  await page.keyboard.press("Enter"); // which gives the keys back to the page
}

/** Wait until a batch is there, whole. */
export async function takes(page, count = 4) {
  await page.waitForFunction(
    (wanted) =>
      document.querySelectorAll(".lane").length >= wanted &&
      !document.querySelector(".big[data-word=Stop]"),
    count,
    { timeout: 45_000 },
  );
}
