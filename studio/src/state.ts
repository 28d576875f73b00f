/** What the page knows, as signals; the folders `actions` and `parts` change and show it. */

import { computed, effect, signal } from "@preact/signals";
import { HttpEngine } from "./engine/http";
import { type Engine, EngineError, type MidiFile, type Progress, isCancelled } from "./engine/engine";
import { type History, begin } from "./logic/history";
import type { Music, Note } from "./logic/music";
import {
  type Arrangement,
  type Kind,
  type Sheet,
  type Sheets,
  candidates,
  seamOf,
} from "./logic/project";
import { type Snap, extended } from "./logic/timeline";

export const link = signal<"up" | "lost" | "busy">("up");

/** Set while the server wants a token; called with the one that was typed, null to give up. */
export const tokenWanted = signal<{ refused: boolean; give: (token: string | null) => void } | null>(
  null,
);
const TOKEN = "arietta-token";
let asking: Promise<string | null> | null = null;

function askToken(refused: boolean): Promise<string | null> {
  const known = sessionStorage.getItem(TOKEN);
  if (known && !refused) return Promise.resolve(known);
  asking ??= new Promise<string | null>((resolve) => {
    tokenWanted.value = { refused, give: resolve };
  }).then((token) => {
    if (token) sessionStorage.setItem(TOKEN, token);
    tokenWanted.value = null;
    asking = null;
    return token;
  });
  return asking;
}

export const engine: Engine = new HttpEngine({
  link: (state) => {
    link.value = state;
  },
  token: askToken,
});

export const sheets = signal<Sheets>(new Map());
export const history = signal<History<Arrangement> | null>(null);
export const arrangement = computed(() => history.value?.present ?? null);

export const current = computed(() => {
  const { value } = arrangement;
  return value ? (sheets.value.get(value.current) ?? null) : null;
});

/** The sheets of the batch that is being chosen from. */
export const choices = computed(() => {
  const { value } = arrangement;
  return value ? candidates(sheets.value, value) : [];
});

export const chosen = computed(
  () => choices.value.find((sheet) => sheet.number === arrangement.value?.chosen) ?? null,
);

export const seam = computed(() => {
  const sheet = current.value;
  return sheet && arrangement.value ? seamOf(arrangement.value, sheet) : 0;
});

/** A batch that is being made. */
export interface Drawing {
  batch: string;
  kind: Kind;
  parent: string;
  from: number;
  /** Where the notes are asked to end; null where the music says. */
  to: number | null;
  seed: number;
  /** The notes of the take that is told while it is made. */
  notes: Note[];
  progress: Progress | null;
  cancel: () => void;
}
export const drawing = signal<Drawing | null>(null);

/** Whether the score is heard as it is written, and not the performance. */
export const asWritten = signal(false);

/** What the roll shows: the sheet that is chosen, with the one under it. */
export const shown = computed(() => {
  const base = current.value;
  if (!base) return null;
  return asWritten.value ? base : (chosen.value ?? base);
});

export interface Region {
  from: number;
  to: number;
  low: number | null;
  high: number | null;
}
export const region = signal<Region | null>(null);

export const cursor = signal(0);
export const playing = signal(false);
/** The moment that sounds, some times a second; the roll reads the sound itself. */
export const moment = signal(0);

export const preparing = signal(false);

export const lines = computed(() => {
  const music = shown.value?.music;
  if (!music) return { bars: [] as number[], beats: [] as number[] };
  const until = Math.max(music.duration, seam.value) + 60;
  return { bars: extended(music.bars, until), beats: extended(music.beats, until) };
});

// Settings ---------------------------------------------------------------------------------

export interface Settings {
  unit: "bars" | "seconds";
  bars: number;
  seconds: number;
  bold: number;
  busy: number;
  snap: Snap;
  theme: "auto" | "light" | "dark";
  rubato: number;
  dynamics: number;
  pedal: number;
  hands: number;
  tempo: "written" | "free";
  tree: boolean;
  duetMode: "answer" | "go-on";
  duetBars: number;
  duetPause: number;
}

export const DEFAULTS: Settings = {
  unit: "seconds",
  bars: 8,
  seconds: 15,
  bold: 0.5,
  busy: 0.5,
  snap: "beat",
  theme: "auto",
  rubato: 1,
  dynamics: 1,
  pedal: 1,
  hands: 1,
  tempo: "written",
  tree: true,
  duetMode: "answer",
  duetBars: 4,
  duetPause: 0.9,
};

const SETTINGS = "arietta-settings";

function stored(): Settings {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(SETTINGS) ?? "{}") as object) };
  } catch {
    return DEFAULTS;
  }
}

export const settings = signal<Settings>(stored());
export const set = (changes: Partial<Settings>) => {
  settings.value = { ...settings.value, ...changes };
};
effect(() => localStorage.setItem(SETTINGS, JSON.stringify(settings.value)));
effect(() => {
  const { theme } = settings.value;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
});

/** Calm to bold: the temperature. Sparse to busy: the density, from a half to twice. */
export const temperature = computed(() => 0.85 + 0.3 * settings.value.bold);
export const density = computed(() => 2 ** (2 * settings.value.busy - 1));

export const like = signal<MidiFile | null>(null);

export type PanelName = "continue" | "perform" | "closer" | "leave" | "mine" | "duet";
export const panel = signal<PanelName | null>(null);
export const treeOpen = signal(false); // on narrow screens, where it lies over the roll
export const helpOpen = signal(false);

// What is told -----------------------------------------------------------------------------

export interface Notice {
  id: number;
  tone: "note" | "problem";
  what: string;
  why?: string;
  mend?: string;
}
export const notices = signal<Notice[]>([]);
let counted = 0;
const READ_MS = 6000;

export function tell(notice: Omit<Notice, "id">): void {
  const id = ++counted;
  const same = (other: Notice) => other.what === notice.what && other.why === notice.why;
  notices.value = [...notices.value.filter((other) => !same(other)), { id, ...notice }].slice(-4);
  if (notice.tone === "note") setTimeout(() => dismiss(id), READ_MS);
}

export const dismiss = (id: number) => {
  notices.value = notices.value.filter((notice) => notice.id !== id);
};

/** Show an error with what mends it; what was cancelled on purpose is no error. */
export function complain(error: unknown): void {
  if (isCancelled(error)) return;
  if (error instanceof EngineError) {
    const { what, title, why, detail, mend } = error.problem;
    tell({ tone: "problem", what: what ?? title ?? error.message, why: why ?? detail, mend });
    return;
  }
  console.error(error);
  tell({
    tone: "problem",
    what: "Something in the page went wrong",
    why: error instanceof Error ? error.message : String(error),
    mend: "Nothing is lost. Reload the page if it goes on.",
  });
}

export interface Work {
  id: number;
  what: string;
  progress: Progress | null;
  cancel: () => void;
}
export const works = signal<Work[]>([]);

/** Do something that may take a while: it is shown, can be cancelled, and its errors are told. */
export async function work<Result>(
  what: string,
  run: (signal: AbortSignal) => Promise<Result>,
): Promise<Result | undefined> {
  const id = ++counted;
  const aborter = new AbortController();
  works.value = [...works.value, { id, what, progress: null, cancel: () => aborter.abort() }];
  try {
    return await run(aborter.signal);
  } catch (error) {
    complain(error);
    return undefined;
  } finally {
    works.value = works.value.filter((other) => other.id !== id);
  }
}

export const newId = () => crypto.randomUUID?.() ?? Math.random().toString(36).slice(2);
export const newSeed = () => Math.floor(Math.random() * 1_000_000);

export const startHistory = (state: Arrangement) => {
  history.value = begin(state);
};

export function put(sheet: Sheet): void {
  sheets.value = new Map(sheets.value).set(sheet.id, sheet);
}

export type { Music, Sheet };

/** Asks the roll to bring a moment into sight. */
export const goToShown = signal<{ seconds: number } | null>(null);
