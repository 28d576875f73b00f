import assert from "node:assert/strict";
import { isSilent, open, opened, sounds } from "../harness.mjs";

/** Runs before the page's code: keeps what goes to the instrument, the sockets and the frames. */
function watch() {
  const Context = globalThis.AudioContext;
  globalThis.AudioContext = class extends Context {
    constructor(...given) {
      super(...given);
      globalThis.audio = this;
    }
  };
  globalThis.struck = [];
  const post = MessagePort.prototype.postMessage;
  MessagePort.prototype.postMessage = function (message, ...rest) {
    const data = message?.data ?? message?.message ?? {};
    const bytes = data.messageData ?? data.message ?? message?.messageData;
    const time = (data.options ?? message?.options)?.time;
    if (bytes?.length === 3 && (bytes[0] & 0xf0) === 0x90) {
      const channel = bytes[0] & 0xf;
      struck.push({ channel, pitch: bytes[1], at: time, ahead: time - audio.currentTime });
    }
    return post.call(this, message, ...rest);
  };
  globalThis.sockets = [];
  globalThis.sentMessages = [];
  globalThis.plans = [];
  const Socket = globalThis.WebSocket;
  globalThis.WebSocket = class extends Socket {
    constructor(...given) {
      super(...given);
      sockets.push(this);
      this.addEventListener("message", ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "plan") plans.push(message);
      });
    }
    send(text) {
      sentMessages.push(JSON.parse(text));
      super.send(text);
    }
  };
}

/** Runs before the page's code: a MIDI keyboard that the test plays. */
function plugIn() {
  const input = { name: "Test Keys", state: "connected", onmidimessage: null };
  const access = { inputs: new Map([["1", input]]), outputs: new Map(), onstatechange: null };
  navigator.requestMIDIAccess = async () => access;
  globalThis.midi = (...bytes) =>
    input.onmidimessage?.({ data: Uint8Array.from(bytes), timeStamp: performance.now() });
  globalThis.unplug = () => {
    input.state = "disconnected";
    access.onstatechange?.({ port: input });
  };
}

const state = (page, wanted, timeout = 30_000) =>
  page.waitForFunction(
    (one) => document.querySelector(".duet-state")?.dataset.state === one,
    wanted,
    { timeout, polling: 10 },
  );

/** Begin a duet with short answers. */
async function begin(browser, studio, before = watch) {
  const opening = await open(browser, studio.url, { before });
  const { page } = opening;
  await opened(page);
  await page.locator(".rail").getByRole("button", { name: "Duet" }).click();
  await page.getByLabel("Pause before it, seconds").fill("0.5");
  await page.getByLabel("Bars of an answer").fill("2");
  await page.getByRole("button", { name: "Begin a duet" }).click();
  await state(page, "listening");
  // Eight round trips, of which the server takes the quickest.
  await page.waitForFunction(() => sentMessages.filter(({ type }) => type === "trip").length >= 8);
  return opening;
}

async function letters(page, text = "adg") {
  for (const letter of text) {
    await page.keyboard.down(letter);
    await page.waitForTimeout(90);
    await page.keyboard.up(letter);
  }
}

/** Wait until the model plays, and its notes go to the instrument. */
async function answered(page) {
  const before = await page.evaluate(() => struck.filter(({ channel }) => channel > 0).length);
  await state(page, "answering");
  await page.waitForFunction(
    (count) => struck.filter(({ channel }) => channel > 0).length > count,
    before,
  );
}

export async function letters_play_and_the_answer_is_scheduled_ahead({ browser, studio }) {
  const { page, close } = await begin(browser, studio);
  await page.keyboard.down("a");
  await sounds(page);
  const middle = page.getByRole("group", { name: "Piano keys" }).getByLabel("C4", { exact: true });
  assert.equal(await middle.getAttribute("aria-pressed"), "true");
  await page.keyboard.up("a");
  assert.equal(await middle.getAttribute("aria-pressed"), "false");
  await letters(page);
  await answered(page);
  await state(page, "listening", 60_000); // the answer ends by itself
  const told = await page.evaluate(() => struck.filter(({ channel }) => channel > 0));
  const ahead = told.map((note) => note.ahead).sort((a, b) => a - b);
  // The median: a busy machine may be late with one.
  assert.ok(ahead[Math.floor(ahead.length / 2)] >= 0.1, `scheduled ${ahead} s ahead`);
  await isSilent(page);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Begin a duet" }).waitFor();
  await close();
}

export async function a_key_takes_back_what_is_scheduled({ browser, studio }) {
  const { page, close } = await begin(browser, studio);
  await page.getByLabel("What it does").selectOption("go-on");
  await letters(page);
  await page.keyboard.press("Enter"); // hands over
  await answered(page);
  await page.keyboard.down("k");
  await page.waitForFunction(() => plans.at(-1)?.release);
  await page.keyboard.up("k");
  const { lit, last, channel } = await page.evaluate(() => ({
    lit: document.querySelectorAll('.key[data-theirs="true"]').length,
    last: plans.at(-1),
    channel: struck.filter((note) => note.channel > 0).at(-1).channel,
  }));
  assert.equal(lit, 0);
  assert.deepEqual(last.notes, []);
  await page.keyboard.press("Enter");
  await answered(page);
  const next = await page.evaluate(() => struck.filter((note) => note.channel > 0).at(-1).channel);
  assert.notEqual(next, channel);
  await page.keyboard.press("Escape");
  await isSilent(page);
  await close();
}

export async function a_midi_keyboard_plays_with_its_pedals({ browser, studio }) {
  const both = `(${plugIn})();(${watch})();`;
  const { page, close } = await begin(browser, studio, both);
  await page.getByText("MIDI: Test Keys").waitFor();
  await page.evaluate(async () => {
    const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    midi(0xb0, 64, 127);
    for (const pitch of [48, 55, 64]) {
      midi(0x90, pitch, 80);
      await wait(80);
      midi(0x80, pitch, 0);
    }
    await wait(900);
  });
  await state(page, "listening"); // the pedal is down
  await page.evaluate(() => midi(0xb0, 64, 0));
  await answered(page);
  await page.evaluate(() => midi(0x90, 40, 80));
  await page.waitForFunction(() => plans.at(-1).release);
  await page.evaluate(() => {
    midi(0xb0, 67, 127); // the soft pedal hands over
  });
  await page.waitForFunction(() => !plans.at(-1).release);
  // Unplugged with a key down: it comes up.
  await page.evaluate(() => unplug());
  await page.getByText("A MIDI keyboard is found by itself").waitFor();
  assert.ok(await page.evaluate(() => sentMessages.some(({ type }) => type === "keys_up")));
  const sent = await page.evaluate(() => sentMessages.filter(({ type }) => type === "note"));
  assert.ok(sent.every(({ at_ms }) => at_ms > 0));
  await page.locator(".duet").getByRole("button", { name: "End" }).click();
  await isSilent(page);
  await close();
}

export async function drawn_keys_play({ browser, studio }) {
  const { page, close } = await begin(browser, studio);
  const keys = page.getByRole("group", { name: "Piano keys" });
  for (const name of ["C4", "E4", "G4"]) {
    const box = await keys.getByLabel(name, { exact: true }).boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height * 0.9);
    await page.mouse.down();
    await page.waitForTimeout(80);
    await page.mouse.up();
  }
  const notes = await page.evaluate(() => sentMessages.filter(({ type }) => type === "note"));
  assert.deepEqual(notes.map(({ pitch }) => pitch), [60, 60, 64, 64, 67, 67]);
  assert.ok(notes[0].velocity > 90);
  await answered(page);
  await page.getByRole("button", { name: "Rest" }).click();
  await state(page, "paused");
  await isSilent(page);
  await close();
}

export async function a_suspended_page_plays_no_past_note({ browser, studio }) {
  const { page, close } = await begin(browser, studio);
  await page.getByLabel("What it does").selectOption("go-on");
  await letters(page);
  await answered(page);
  const before = await page.evaluate(() => {
    const until = performance.now() + 1500;
    const count = struck.length;
    while (performance.now() < until);
    return count;
  });
  await page.waitForFunction(() => sentMessages.some(({ type }) => type === "suspended"));
  await page.waitForFunction((count) => struck.length > count + 2, before);
  const late = await page.evaluate((count) => Math.min(...struck.slice(count).map((n) => n.ahead)), before);
  assert.ok(late > -0.05, `a note ${-late} s late`);
  // A hidden page rests, and goes on when it is seen again.
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await state(page, "paused");
  await isSilent(page);
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await state(page, "listening");
  await close();
}

export async function a_lost_connection_comes_back({ browser, studio }) {
  const { page, close } = await begin(browser, studio);
  await letters(page);
  await answered(page);
  await page.evaluate(() => sockets.at(-1).close());
  await state(page, "lost");
  await isSilent(page);
  await state(page, "listening");
  await letters(page);
  await answered(page);
  await page.getByRole("button", { name: "Play", exact: true }).click(); // music ends a duet
  await page.getByRole("button", { name: "Begin a duet" }).waitFor();
  await sounds(page);
  await close();
}
