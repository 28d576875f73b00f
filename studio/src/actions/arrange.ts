/** Gestures on the arrangement: each is one step of undo, and is saved at once. */

import { effect } from "@preact/signals";
import { commit, redo as redone, undo as undone } from "../logic/history";
import {
  type Arrangement,
  type Sheet,
  drop,
  keep,
  open as opened,
  unpacked,
} from "../logic/project";
import { Storage } from "../logic/storage";
import {
  arrangement,
  asWritten,
  choices,
  chosen,
  complain,
  current,
  engine,
  history,
  put,
  region,
  sheets,
  startHistory,
  tell,
} from "../state";

export function gesture(label: string, change: (now: Arrangement) => Arrangement): void {
  if (!history.value) return;
  history.value = commit(history.value, label, change(history.value.present));
}

export function undo(): void {
  if (history.value) history.value = undone(history.value);
}

export function redo(): void {
  if (history.value) history.value = redone(history.value);
}

/** Add a piece and open it. */
export function add(sheet: Sheet): void {
  put(sheet);
  region.value = null;
  asWritten.value = false;
  const first: Arrangement = { current: sheet.id, batch: null, chosen: 1, status: {}, seam: {} };
  if (!history.value) startHistory(first);
  else gesture(`Open ${sheet.title}`, (now) => opened(now, sheet.id));
}

/** Show a sheet: one of a batch among the others of it, any other by itself. */
export function show(sheet: Sheet): void {
  region.value = null;
  asWritten.value = false;
  gesture(`Show ${sheet.title}`, (now) => {
    const { batch, parent, number } = sheet;
    if (batch && parent && now.status[sheet.id] !== "kept") {
      const status = { ...now.status };
      delete status[sheet.id]; // what was dropped comes back
      return { ...now, current: parent, batch, chosen: number ?? 1, status };
    }
    return now.current === sheet.id && !now.batch ? now : opened(now, sheet.id);
  });
}

export function moveSeam(seconds: number): void {
  const sheet = current.value;
  if (!sheet) return;
  gesture("Move the seam", (now) => ({
    ...now,
    seam: { ...now.seam, [sheet.id]: Math.max(0, seconds) },
  }));
}

export function choose(number: number): void {
  if (!choices.value.some((sheet) => sheet.number === number)) return;
  asWritten.value = false;
  gesture(`Listen to ${number}`, (now) =>
    now.chosen === number ? now : { ...now, chosen: number },
  );
}

export async function keepChosen(): Promise<void> {
  const sheet = chosen.value;
  if (!sheet) return;
  region.value = null;
  asWritten.value = false;
  gesture(`Keep ${sheet.title}`, (now) => keep(now, sheet));
  // Its bars, as the file has them: the take alone only knows those before the seam.
  try {
    const { music } = await engine.read(sheet.file);
    const now = sheets.value.get(sheet.id);
    if (now) put({ ...now, music: { ...now.music, bars: music.bars, beats: music.beats } });
  } catch (error) {
    complain(error);
  }
}

export function dropChosen(): void {
  const sheet = chosen.value;
  if (sheet) gesture(`Drop ${sheet.title}`, (now) => drop(now, sheet, sheets.value));
}

/** Leave the choice: the piece as it was. */
export function back(): void {
  asWritten.value = false;
  gesture("Back", (now) => (now.batch ? { ...now, batch: null, chosen: 1 } : now));
}

// Autosave -----------------------------------------------------------------------------------

const storage = new Storage();
const SAVE_MS = 250;
let timer = 0;
let warned = false;

export const restore = () => storage.load();

export function saveAlways(): void {
  effect(() => {
    const all = sheets.value;
    const now = arrangement.value;
    if (!now) return;
    window.clearTimeout(timer);
    timer = window.setTimeout(() => {
      storage.save(all, now).catch((error: unknown) => {
        if (warned) return;
        warned = true;
        tell({
          tone: "problem",
          what: "The browser does not keep this project",
          why: error instanceof Error ? error.message : String(error),
          mend: "Save the project as a file before you close the page (Ctrl+S).",
        });
      });
    }, SAVE_MS);
  });
}

/** Take a project file in: its sheets join those that are here. */
export function openProject(text: string): boolean {
  const found = unpacked(text);
  if (!found) return false;
  const all = new Map(sheets.value);
  for (const [id, sheet] of found.sheets) all.set(id, sheet);
  sheets.value = all;
  if (!history.value) startHistory(found.arrangement);
  else {
    gesture("Open a project", (now) => ({
      ...found.arrangement,
      status: { ...now.status, ...found.arrangement.status },
      seam: { ...now.seam, ...found.arrangement.seam },
    }));
  }
  return true;
}

