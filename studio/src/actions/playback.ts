/** Play, stop, go somewhere: the cursor, the sound, and what follows from a change of what is shown. */

import { effect } from "@preact/signals";
import { ElementSound } from "../sound/element";
import type { Piano } from "../sound/piano";
import type { Sound, Source } from "../sound/sound";
import { WorkletSound } from "../sound/worklet";
import { type Sheet, current, drawing, engine, moment, playing, preparing, shown } from "../state";
import { complain, cursor, lines, tell } from "../state";
import { stepped } from "../logic/timeline";

export const hasWorklet = typeof AudioWorkletNode !== "undefined" && window.isSecureContext;

/** Silence that is left before the first note, in seconds. */
const AIR = 0.15;

let bank: Promise<ArrayBuffer> | null = null;

/** Fetch the piano bank; again where that failed. */
export function loadBank(): Promise<ArrayBuffer> {
  bank ??= fetch("./piano.sf3").then((reply) => {
    if (!reply.ok) throw new Error(`the piano bank did not arrive (${reply.status})`);
    return reply.arrayBuffer();
  });
  bank.catch(() => {
    bank = null;
  });
  return bank;
}

const worklet = hasWorklet ? new WorkletSound(loadBank) : null;
export const sound: Sound = worklet ?? new ElementSound((file) => engine.synth(file, "mp3"));

/** Stop the music and return the piano of the page itself; null where there is none. */
export async function instrument(): Promise<Piano | null> {
  stop();
  return worklet ? worklet.instrument() : null;
}

sound.onEnd = () => {
  playing.value = false;
};

const sources = new Map<string, Source>();

export function sourceOf(sheet: Sheet): Source {
  let source = sources.get(sheet.id);
  if (source?.music.notes !== sheet.music.notes || !source) {
    const { notes, pedal, duration } = sheet.music;
    const music = { notes, pedal, frontier: Number.POSITIVE_INFINITY, end: duration };
    source = { id: sheet.id, music, file: sheet.file };
    sources.set(sheet.id, source);
  }
  return source;
}

/** Let what is being drawn sound as a sheet, once it has become one. */
export function adopt(source: Source, sheet: Sheet): void {
  source.id = sheet.id;
  source.file = sheet.file;
  source.music.notes = sheet.music.notes;
  source.music.pedal = sheet.music.pedal;
  source.music.end = sheet.music.duration;
  source.music.frontier = Number.POSITIVE_INFINITY;
  sources.set(sheet.id, source);
}

let live: Source | null = null;

/** Sound what is being drawn, from a moment. */
export async function playLive(source: Source, from: number): Promise<void> {
  live = source;
  await start(source, from);
}

export const endLive = () => {
  live = null;
};

async function start(source: Source, from: number): Promise<void> {
  playing.value = true;
  preparing.value = true;
  try {
    await sound.play(source, from);
  } catch (error) {
    playing.value = false;
    complain(error);
  } finally {
    preparing.value = false;
  }
}

export async function play(from = cursor.value): Promise<void> {
  const sheet = shown.value;
  if (!sheet) return;
  const source = live && drawing.value ? live : sourceOf(sheet);
  const over = from >= source.music.end - 0.05;
  await start(source, soundingFrom(source, over ? 0 : from));
}

/** Before the first note there is nothing to hear: begin just before it. */
const soundingFrom = (source: Source, from: number) =>
  Math.max(from, (source.music.notes[0]?.onset ?? 0) - AIR);

/** Ready the instrument on the first gesture, whatever it is for. */
export function prepareOnGesture(): void {
  const names = ["pointerdown", "keydown"] as const;
  const ready = () => {
    for (const name of names) document.removeEventListener(name, ready, true);
    void sound.prepare().catch(complain);
  };
  for (const name of names) document.addEventListener(name, ready, true);
}

export function stop(): void {
  const at = sound.position();
  sound.stop();
  playing.value = false;
  if (at !== null) cursor.value = at;
}

export function toggle(): void {
  if (playing.value) stop();
  else void play();
}

/** Move the cursor; where it plays, the sound goes along. */
export function goTo(seconds: number): void {
  cursor.value = Math.max(0, seconds);
  if (playing.value) void play(cursor.value);
}

export function step(direction: 1 | -1, by: "bar" | "beat"): void {
  const now = playing.value ? (sound.position() ?? cursor.value) : cursor.value;
  const { bars, beats } = lines.value;
  goTo(stepped(by === "bar" ? bars : beats, now, direction, by === "bar" ? 4 : 1));
}

/** Sound what is shown, after what was being drawn has come to its end, or to nothing. */
export function follow(): void {
  if (playing.value && shown.value) sound.switchTo(sourceOf(shown.value));
}

/** Return where the line of the music stands now. */
export const position = () => (playing.value ? (sound.position() ?? cursor.value) : cursor.value);

/** Return the moment of another sheet that is the same place of the music. */
export function counterpart(from: Sheet, to: Sheet, seconds: number): number {
  const a = from.music.bars;
  const b = to.music.bars;
  if (from.kind !== "performance" && to.kind !== "performance") return seconds;
  if (a.length < 2 || a.length !== b.length) return seconds;
  let bar = a.length - 2;
  while (bar > 0 && a[bar] > seconds) bar--;
  const share = (seconds - a[bar]) / Math.max(a[bar + 1] - a[bar], 1e-3);
  return Math.max(0, b[bar] + share * (b[bar + 1] - b[bar]));
}

// When another sheet is shown while it plays, it sounds from the same place of the music.
let before: Sheet | null = null;
effect(() => {
  const sheet = shown.value;
  const last = before;
  before = sheet;
  if (!sheet || !last || sheet === last) return;
  if (!playing.peek()) {
    cursor.value = counterpart(last, sheet, cursor.peek());
    return;
  }
  if (live && drawing.peek() && sheet === current.peek()) return;
  sound.switchTo(sourceOf(sheet), (seconds) => counterpart(last, sheet, seconds));
});

window.setInterval(() => {
  const now = Math.round(position() * 10) / 10;
  if (now !== moment.value) moment.value = now;
}, 100);

if (!hasWorklet) {
  tell({
    tone: "note",
    what: "This page plays the server's rendering",
    why: "Browsers give pages an instrument of their own only on https and on this very machine.",
  });
}
