/** What has to be struck, released and pedalled between two moments of some music. */

import { firstFrom, type Note, type Pedal } from "./music";

/** What sounds. Notes may be added while it does; frontier is until when they are known. */
export interface Sounding {
  notes: Note[];
  pedal: Pedal[];
  frontier: number;
  end: number;
}

export type Strike =
  | { kind: "on"; time: number; pitch: number; velocity: number }
  | { kind: "off"; time: number; pitch: number }
  | { kind: "pedal"; time: number; value: number };

/** Shortest time between the end of a note and the next strike of its key. */
const GAP = 0.012;
const PEDAL_DOWN = 64;
/** A note that is held when the sound jumps is struck again where this much of it is left. */
const WORTH_STRIKING = 0.15;

/** Return the events of [from, to), in order: at one moment releases first, strikes last. */
export function events(music: Sounding, from: number, to: number): Strike[] {
  const found: Strike[] = [];
  for (const { time, value } of music.pedal) {
    if (time >= from && time < to) found.push({ kind: "pedal", time, value });
  }
  // Notes that end in the stretch may have begun long before it.
  for (let row = 0; row < music.notes.length; row++) {
    const note = music.notes[row];
    if (note.onset >= to) break;
    if (note.onset >= from) {
      found.push({ kind: "on", time: note.onset, pitch: note.pitch, velocity: note.velocity });
    }
    const end = releaseOf(music.notes, row);
    if (end >= from && end < to) found.push({ kind: "off", time: end, pitch: note.pitch });
  }
  const rank = { off: 0, pedal: 1, on: 2 };
  return found.sort((a, b) => a.time - b.time || rank[a.kind] - rank[b.kind]);
}

/** Return when a note is let go: just before its key is struck again, if that is sooner. */
function releaseOf(notes: Note[], row: number): number {
  const note = notes[row];
  const end = note.onset + note.duration;
  for (let next = row + 1; next < notes.length && notes[next].onset < end; next++) {
    if (notes[next].pitch === note.pitch && notes[next].onset > note.onset) {
      return Math.max(note.onset, notes[next].onset - GAP);
    }
  }
  return end;
}

/** Return what brings a silent instrument to the state of some music at a moment. */
export function stateAt(music: Sounding, seconds: number): Strike[] {
  let pedal = 0;
  for (const event of music.pedal) if (event.time < seconds) pedal = event.value;
  const found: Strike[] = [{ kind: "pedal", time: seconds, value: pedal }];
  const before = firstFrom(music.notes, seconds);
  const struck = new Set<number>();
  for (let row = before - 1; row >= 0; row--) {
    const { pitch, velocity, onset } = music.notes[row];
    if (seconds - onset > 12) break;
    const left = releaseOf(music.notes, row) - seconds;
    if (left < WORTH_STRIKING || struck.has(pitch)) continue;
    struck.add(pitch);
    // A string that was struck some time ago has lost some of its sound.
    const softer = Math.max(1, Math.round(velocity * Math.exp(-(seconds - onset) / 4)));
    found.push({ kind: "on", time: seconds, pitch, velocity: softer });
  }
  return found;
}

export const pedalDown = (value: number) => value >= PEDAL_DOWN;
