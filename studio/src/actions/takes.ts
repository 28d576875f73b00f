/** Continue, fill, perform: ask for a batch, draw it while it comes, and let it be chosen from. */

import type { TakeListener, TakeMade } from "../engine/engine";
import { amend } from "../logic/history";
import { LOWEST, type Music, type Note, endOf, inheritLayers, notesOf, pedalOf, plainPitch } from "../logic/music";
import type { Kind, Sheet } from "../logic/project";
import { extended } from "../logic/timeline";
import type { Source } from "../sound/sound";
import {
  type Region,
  arrangement,
  asWritten,
  choices,
  chosen,
  complain,
  current,
  density,
  drawing,
  engine,
  history,
  like,
  newId,
  newSeed,
  put,
  region,
  seam,
  settings,
  sheets,
  temperature,
} from "../state";
import { type Wish, suited } from "../logic/wishes";
import { gesture } from "./arrange";
import { adopt, endLive, follow, play, playLive } from "./playback";

/** Continue sounds this long before the seam, so that the ear knows where it is. */
const LEAD_SECONDS = 4;
const FILL_LEAD_SECONDS = 2;
export const PALETTE = 4;
/** How many fills are decided, where some are picked by a wish. */
const DECIDED = 16;

const NOUNS: Record<Kind, string> = {
  piece: "Piece",
  take: "Take",
  fill: "Fill",
  performance: "Performance",
};

interface Batch {
  /** When it was asked for, in ms: its takes stand in the tree by that, and by their numbers. */
  began: number;
  kind: Kind;
  parent: Sheet;
  from: number;
  to: number | null;
  seed: number;
  label: string;
  /** Where it begins to sound; null: it stays silent. */
  playFrom: number | null;
  ask: (on: TakeListener, signal: AbortSignal) => Promise<void>;
}

export function continueOn(end = false): Promise<void> {
  // With a take chosen, going on means to keep it first.
  const parent = chosen.value?.kind === "take" ? chosen.value : current.value;
  if (!parent || drawing.value) return Promise.resolve();
  const { unit, bars, seconds } = settings.value;
  const from = parent === current.value ? seam.value : parent.music.lastRelease;
  const seed = newSeed();
  const inBars = unit === "bars" && parent.music.bars.length > 1;
  const request = {
    file: from > 0 ? parent.file : null,
    prompt_seconds: from > 0 ? from : null,
    ...(inBars ? { bars } : { seconds }),
    seed,
    temperature: temperature.value,
    density: density.value,
    like: like.value,
    end,
  };
  return make({
    began: Date.now(),
    kind: "take",
    parent,
    from,
    to: null,
    seed,
    label: end ? "Make an ending" : "Continue",
    playFrom: Math.max(0, from - LEAD_SECONDS),
    ask: (on, signal) => engine.continue(request, on, signal),
  });
}

export function fill(wish: Wish = "again", keep: string | null = null): Promise<void> {
  const parent = current.value;
  const area = region.value ?? filledRegion();
  if (!parent || !area || drawing.value) return Promise.resolve();
  const seed = newSeed();
  const { from, to } = area;
  const request = {
    file: parent.file,
    from_seconds: from,
    to_seconds: to,
    keep: keep ?? keptBeside(area),
    variations: wish === "again" ? PALETTE : DECIDED,
    seed,
  };
  region.value = area;
  return make({
    began: Date.now(),
    kind: "fill",
    parent,
    from,
    to,
    seed,
    label: "Fill",
    playFrom: Math.max(0, from - FILL_LEAD_SECONDS),
    ask: async (on, signal) => {
      const made: TakeMade[] = [];
      await engine.fill(request, { ...on, take: (take) => made.push(take) }, signal);
      const old = parent.music.notes.filter(({ onset }) => onset >= from && onset < to);
      suited(wish, made, old, PALETTE).forEach(on.take);
    },
  });
}

function filledRegion() {
  const [sheet] = choices.value;
  if (sheet?.kind !== "fill") return null;
  return { from: sheet.from ?? 0, to: sheet.to ?? 0, low: null, high: null };
}

/** Return what a band of keys, which reaches to an end of the keyboard, leaves alone. */
function keptBeside({ low, high }: Region): string | null {
  if (low === null || high === null) return null;
  return low > LOWEST ? `A0-${plainPitch(low - 1)}` : `${plainPitch(high + 1)}-C8`;
}

export function perform(): Promise<void> {
  const parent = current.value;
  if (!parent || drawing.value) return Promise.resolve();
  const seed = newSeed();
  return make({
    began: Date.now(),
    kind: "performance",
    parent,
    from: 0,
    to: null,
    seed,
    label: "Perform",
    playFrom: null,
    ask: (on, signal) => engine.render(renderRequest(parent, seed), on, signal),
  });
}

function renderRequest(parent: Sheet, seed: number) {
  const { rubato, dynamics, pedal, hands, tempo } = settings.value;
  return {
    file: parent.file,
    controls: { rubato, dynamics, pedal, hands },
    tempo,
    variations: PALETTE,
    seed,
  };
}

let retouching: AbortController | null = null;

/** Play the performances of this batch with the sliders as they are now. */
export async function retouch(): Promise<void> {
  const [first] = choices.value;
  const parent = current.value;
  if (!parent || first?.kind !== "performance" || drawing.value) return;
  retouching?.abort();
  const aborter = new AbortController();
  retouching = aborter;
  const { batch } = first;
  const seed = batchSeed(batch ?? "") ?? first.seed ?? 0;
  let number = 0;
  const replace = (made: TakeMade) => {
    number += 1;
    const old = [...sheets.value.values()].find(
      (sheet) => sheet.batch === batch && sheet.number === number,
    );
    if (old) put({ ...old, ...performed(made, parent) });
  };
  const silent: TakeListener = {
    begin: () => {
      number = 0;
    },
    started: () => undefined,
    note: () => undefined,
    progress: () => undefined,
    take: replace,
  };
  try {
    await engine.render(renderRequest(parent, seed), silent, aborter.signal);
  } catch (error) {
    complain(error);
  }
}

/** A batch carries its seed in its name, since each of its takes has one of its own. */
const batchSeed = (batch: string) => {
  const seed = Number(batch.split(":")[1]);
  return Number.isFinite(seed) ? seed : null;
};

async function make(wanted: Batch): Promise<void> {
  const { kind, parent, from, to, seed, label } = wanted;
  const batch = `${newId()}:${seed}`;
  const aborter = new AbortController();
  const before = parent.music.notes.filter((note) => kind !== "take" || note.onset < from - 1e-3);
  const live: Source = {
    id: batch,
    file: null,
    music: {
      notes: before.slice(),
      pedal: parent.music.pedal.filter((event) => kind !== "take" || event.time < from),
      frontier: from,
      end: Number.POSITIVE_INFINITY,
    },
  };
  const streams = kind === "take";
  asWritten.value = false;
  gesture(label, (now) => {
    const status =
      parent.id === now.current ? now.status : { ...now.status, [parent.id]: "kept" as const };
    return { ...now, current: parent.id, batch, chosen: 1, status };
  });
  drawing.value = {
    batch,
    kind,
    parent: parent.id,
    from,
    to,
    seed,
    notes: [],
    progress: null,
    cancel: () => aborter.abort(),
  };
  if (streams && wanted.playFrom !== null) void playLive(live, wanted.playFrom);

  let streamed: number | null = null;
  let others = 0;
  // The take that was heard while it was decided is the first; the others follow, best first.
  const numberOf = (take: number) =>
    take === streamed ? 1 : ++others + (streamed === null ? 0 : 1);
  const listener: TakeListener = {
    begin: () => {
      streamed = null;
      others = 0;
      update({ notes: [] });
    },
    started: () => undefined,
    note: (told) => {
      streamed ??= told.take;
      if (told.take !== streamed) return;
      const note: Note = {
        pitch: told.pitch,
        velocity: told.velocity,
        onset: told.onset_seconds,
        duration: told.duration_seconds,
        layer: 1,
      };
      const drawn = [...(drawing.value?.notes ?? []), note];
      update({ notes: drawn });
      if (streams && live.music.frontier < note.onset) live.music.frontier = note.onset;
      live.music.notes = [...before, ...drawn];
    },
    progress: (progress) => update({ progress }),
    take: (made) => {
      const number = numberOf(made.take);
      if (number > PALETTE) return;
      const sheet = sheetOf(made, number, wanted, batch);
      if (made.take === streamed && streams) adopt(live, sheet);
      put(sheet);
    },
  };
  try {
    await wanted.ask(listener, aborter.signal);
  } catch (error) {
    complain(error);
  } finally {
    endLive();
    drawing.value = null;
    finish(batch);
    if (streams) follow();
    else if (wanted.playFrom !== null && choices.value.length) void play(wanted.playFrom);
  }
}

function update(changes: Partial<NonNullable<typeof drawing.value>>): void {
  if (drawing.value) drawing.value = { ...drawing.value, ...changes };
}

/** Show the first of what came, or go back to the piece where nothing did. */
function finish(batch: string): void {
  const now = arrangement.value;
  if (now?.batch !== batch || !history.value) return;
  const [first] = choices.value;
  const present = first
    ? { ...now, chosen: chosen.value?.number ?? first.number ?? 1 }
    : { ...now, batch: null, chosen: 1 };
  history.value = amend(history.value, present);
}

function sheetOf(made: TakeMade, number: number, wanted: Batch, batch: string): Sheet {
  const { kind, parent, from, to } = wanted;
  return {
    id: `${batch}:${number}`,
    parent: parent.id,
    kind,
    title: `${NOUNS[kind]} ${number}`,
    batch,
    number,
    rank: made.rank,
    seed: made.seed,
    from,
    to: to ?? undefined,
    measures: made.measures,
    made: wanted.began + number / 100,
    ...(kind === "performance" ? performed(made, parent) : taken(made, number, parent, from)),
  };
}

function taken(made: TakeMade, layer: number, parent: Sheet, from: number) {
  const told = notesOf(made.notes, layer);
  const whole = made.notes.new
    ? told
    : [...parent.music.notes.filter((note) => note.onset < from - 1e-3), ...told];
  const notes = inheritLayers(whole, parent.music.notes, layer);
  const end = endOf(notes);
  const name = parent.file.name.replace(/\.\w+$/, "");
  const music: Music = {
    ...parent.music,
    notes,
    pedal: made.pedal ? pedalOf(made.pedal) : parent.music.pedal,
    bars: made.bars_seconds ?? extended(parent.music.bars, end),
    beats: made.beats_seconds ?? extended(parent.music.beats, end),
    isScore: false,
    duration: end,
    lastRelease: end,
  };
  return {
    music,
    file: { name: `${name}.mid`, data: made.midi },
    newFile: made.midi_new ? { name: `${name} new.mid`, data: made.midi_new } : undefined,
  };
}

function performed(made: TakeMade, parent: Sheet) {
  const notes = notesOf({ ...made.notes, new: undefined }, 0);
  const end = endOf(notes);
  const music: Music = {
    ...parent.music,
    notes,
    pedal: pedalOf(made.pedal),
    bars: made.bars_seconds ?? parent.music.bars,
    beats: made.beats_seconds ?? made.bars_seconds ?? parent.music.beats,
    tempo: made.tempo ?? parent.music.tempo,
    isScore: false,
    duration: end,
    lastRelease: end,
  };
  const name = parent.file.name.replace(/\.\w+$/, "");
  return {
    music,
    file: { name: `${name} performed.mid`, data: made.midi },
    tempoCurve: made.tempo,
    loudnessCurve: made.loudness,
  };
}

export const cancelDrawing = () => drawing.value?.cancel();
