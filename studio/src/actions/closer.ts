/** Look closer: surprise, what a piece sounds like, and the collections that the server holds. */

import { effect, signal } from "@preact/signals";
import type { Labelled, MapPoint, Match, Scored } from "../engine/engine";
import { engine, goToShown, like, shown, tell, work } from "../state";
import { goTo, position } from "./playback";
import { openMidi } from "./files";

/** How many notes are called suspicious: as many as one has the patience to hear. */
const SUSPICIOUS = 20;

export const scored = signal<{ sheet: string; result: Scored } | null>(null);
export const labels = signal<{ sheet: string; result: Labelled[] } | null>(null);
export const indexes = signal<{ name: string; pieces: number }[] | null>(null);
export const index = signal<string | null>(null);
export const points = signal<MapPoint[]>([]);
export const matches = signal<Match[] | null>(null);
export const picked = signal<{ id: string; title: string } | null>(null);

// What was found of a sheet goes with it.
effect(() => {
  const sheet = shown.value;
  if (scored.peek() && scored.peek()?.sheet !== sheet?.id) scored.value = null;
  if (labels.peek() && labels.peek()?.sheet !== sheet?.id) labels.value = null;
});

export async function surprise(): Promise<void> {
  const sheet = shown.value;
  if (!sheet) return;
  if (scored.value) {
    scored.value = null;
    return;
  }
  await work("Weighing every note", async (signal) => {
    scored.value = { sheet: sheet.id, result: await engine.score(sheet.file, signal) };
  });
}

/** Go to the next of the most surprising notes; after the last, to the first. */
export function nextSuspicious(): void {
  const sheet = shown.value;
  const found = scored.value;
  if (!sheet || !found) return;
  const onsets = found.result.suspicious
    .slice(0, SUSPICIOUS)
    .map((row) => sheet.music.notes[row]?.onset)
    .filter((onset) => onset !== undefined)
    .sort((a, b) => a - b);
  if (!onsets.length) {
    tell({ tone: "note", what: "No note of this piece is suspicious" });
    return;
  }
  const now = position();
  const next = onsets.find((onset) => onset > now + 0.02) ?? onsets[0];
  goTo(next);
  goToShown.value = { seconds: next };
}

export const classify = () =>
  work("Listening to the style", async (signal) => {
    const sheet = shown.value;
    if (sheet) labels.value = { sheet: sheet.id, result: await engine.classify(sheet.file, signal) };
  });

export const loadIndexes = () =>
  work("Looking for collections", async () => {
    indexes.value = await engine.indexes();
    if (!index.value && indexes.value.length) await openIndex(indexes.value[0].name);
  });

export const openIndex = (name: string) =>
  work("Drawing the map", async (signal) => {
    index.value = name;
    matches.value = null;
    picked.value = null;
    points.value = await engine.map(name, signal);
  });

export const search = (by: "style" | "notes") =>
  work("Searching", async (signal) => {
    const sheet = shown.value;
    if (!sheet || !index.value) return;
    matches.value = await engine.search({ index: index.value, by, file: sheet.file }, signal);
  });

export const openPicked = (at: number | null = null) =>
  work("Opening", async () => {
    if (!picked.value || !index.value) return;
    const { id, title } = picked.value;
    await openMidi(await engine.piece(index.value, id), title);
    if (at) goTo(at);
  });

export const likePicked = () =>
  work("Fetching", async () => {
    if (!picked.value || !index.value) return;
    const file = await engine.piece(index.value, picked.value.id);
    like.value = { ...file, name: picked.value.title };
    tell({ tone: "note", what: `The next takes lean towards ${picked.value.title}` });
  });
