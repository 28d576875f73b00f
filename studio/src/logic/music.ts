/** Music as the page holds it: notes, pedal and the lines of its bars. Times are in seconds. */

export interface Note {
  pitch: number;
  velocity: number;
  onset: number;
  duration: number;
  /** 0: as it came; 1 and above: added by the take of that colour. */
  layer: number;
  hand?: "left" | "right";
}

/** When the sustain pedal moves, and to what (0..127; down from 64 on). */
export interface Pedal {
  time: number;
  value: number;
}

export interface Music {
  notes: Note[];
  pedal: Pedal[];
  bars: number[];
  beats: number[];
  tempo: [seconds: number, quartersAMinute: number][];
  key: { name: string; confidence: number } | null;
  isScore: boolean;
  duration: number;
  lastRelease: number;
}

export interface NotesTable {
  pitch: number[];
  velocity: number[];
  onset_seconds: number[];
  duration_seconds: number[];
  new?: boolean[];
  hand?: ("left" | "right")[];
}

export interface PedalTable {
  time_seconds: number[];
  value: number[];
}

/** Return the rows of a table in order of their onsets; new ones in the given layer. */
export function notesOf(table: NotesTable, layer = 0): Note[] {
  const notes = table.pitch.map((pitch, row): Note => {
    const note: Note = {
      pitch,
      velocity: table.velocity[row],
      onset: table.onset_seconds[row],
      duration: table.duration_seconds[row],
      layer: table.new === undefined || table.new[row] ? layer : 0,
    };
    const hand = table.hand?.[row];
    if (hand) note.hand = hand;
    return note;
  });
  return notes.sort((a, b) => a.onset - b.onset || a.pitch - b.pitch);
}

export function pedalOf(table: PedalTable | undefined): Pedal[] {
  if (!table) return [];
  return table.time_seconds.map((time, row) => ({ time, value: table.value[row] }));
}

/** Return the notes of a take with the colours that the notes before it have in its parent. */
export function inheritLayers(notes: Note[], parent: Note[], layer: number): Note[] {
  const known = new Map<string, number>();
  for (const note of parent) if (note.layer) known.set(identity(note), note.layer);
  const before = new Set(parent.map(identity));
  return notes.map((note) => {
    const same = identity(note);
    const inherited = before.has(same) ? (known.get(same) ?? 0) : note.layer ? layer : 0;
    return inherited === note.layer ? note : { ...note, layer: inherited };
  });
}

const identity = (note: Note) => `${note.pitch}@${Math.round(note.onset * 50)}`;

export function endOf(notes: Note[]): number {
  return notes.reduce((end, note) => Math.max(end, note.onset + note.duration), 0);
}

/** Return the index of the first note that starts at or after a time. */
export function firstFrom(notes: Note[], seconds: number): number {
  let low = 0;
  let high = notes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (notes[middle].onset < seconds) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The keys of a piano. */
export const LOWEST = 21;
export const HIGHEST = 108;

const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

export const pitchName = (pitch: number) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

/** As the server writes pitches: C♯4 is C#4, A♭3 is G#3. */
export function plainPitch(pitch: number): string {
  const sharps = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
  return `${sharps[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
}

export const isBlack = (pitch: number) => [1, 3, 6, 8, 10].includes(pitch % 12);
