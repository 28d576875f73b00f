/** What part of the music the roll shows, and where on it things lie. */

import type { Note } from "../logic/music";

export interface View {
  /** Seconds at the left edge of the notes. */
  from: number;
  /** Pixels a second. */
  scale: number;
  width: number;
  height: number;
  low: number;
  high: number;
}

export const KEYS = 46;
export const RULER = 30;
export const VELOCITY = 44;
export const PEDAL = 16;
export const CURVES = 64;
const FEWEST_KEYS = 44;
const SLOWEST = 4;
const FASTEST = 600;
/** Seconds that may be empty left of the start. */
const BEFORE = 0.6;

/** Return the lowest and highest key to show: those that are played, and some air. */
export function pitchRange(notes: Note[]): { low: number; high: number } {
  let low = 108;
  let high = 21;
  for (const { pitch } of notes) {
    low = Math.min(low, pitch);
    high = Math.max(high, pitch);
  }
  if (low > high) return { low: 40, high: 40 + FEWEST_KEYS };
  low -= 2;
  high += 2;
  const missing = FEWEST_KEYS - (high - low);
  if (missing > 0) {
    low -= Math.floor(missing / 2);
    high += Math.ceil(missing / 2);
  }
  return { low: Math.max(low, 12), high: Math.min(high, 116) };
}

export const toX = (view: View, seconds: number) => KEYS + (seconds - view.from) * view.scale;
export const toSeconds = (view: View, x: number) => view.from + (x - KEYS) / view.scale;

export const bottom = (view: View, lanes: number) => view.height - lanes;

export function toY(view: View, pitch: number, lanes: number): number {
  return RULER + (view.high - pitch) * rowHeight(view, lanes);
}

export const rowHeight = (view: View, lanes: number) =>
  (bottom(view, lanes) - RULER) / (view.high - view.low + 1);

export function toPitch(view: View, y: number, lanes: number): number {
  const row = Math.floor((y - RULER) / rowHeight(view, lanes));
  return Math.min(view.high, Math.max(view.low, view.high - row));
}

export function scrolled(view: View, seconds: number, end: number): View {
  const last = Math.max(-BEFORE, end - (view.width - KEYS) / view.scale / 3);
  return { ...view, from: Math.min(Math.max(view.from + seconds, -BEFORE), last) };
}

/** Zoom; the moment under x stays where it is. */
export function zoomed(view: View, factor: number, x: number, end: number): View {
  const scale = Math.min(Math.max(view.scale * factor, SLOWEST), FASTEST);
  const at = toSeconds(view, x);
  return scrolled({ ...view, scale, from: at - (x - KEYS) / scale }, 0, end);
}

/** Return the view that has a moment in sight, the same one where it already is. */
export function showing(view: View, seconds: number, end: number): View {
  const x = toX(view, seconds);
  if (x >= KEYS && x <= view.width - 40) return view;
  const wanted = seconds - ((view.width - KEYS) / view.scale) * 0.2;
  return scrolled(view, wanted - view.from, end);
}

/** Return every how many bars a number stands, so that numbers do not touch. */
export function barStride(barPixels: number): number {
  for (const stride of [1, 2, 4, 8, 16, 32, 64]) if (barPixels * stride >= 38) return stride;
  return 128;
}

/** Return every how many seconds a time stands. */
export function clockStride(secondPixels: number): number {
  for (const stride of [1, 2, 5, 10, 30, 60]) if (secondPixels * stride >= 64) return stride;
  return 120;
}
