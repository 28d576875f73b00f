/** Bars and beats: where a time lies, where it snaps to, how far the arrows go. */

export type Snap = "bar" | "beat" | "off";
export const SNAPS: readonly Snap[] = ["bar", "beat", "off"];

/** Return the lines going on past the last one at the spacing of the last two, to a time. */
export function extended(lines: number[], until: number): number[] {
  if (lines.length < 2) return lines;
  const step = lines[lines.length - 1] - lines[lines.length - 2];
  if (!(step > 0.01)) return lines;
  const all = lines.slice();
  while (all[all.length - 1] < until) all.push(all[all.length - 1] + step);
  return all;
}

/** Return the index of the last line at or before a time, -1 before the first. */
export function lineAt(lines: number[], seconds: number): number {
  let low = 0;
  let high = lines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines[middle] <= seconds + 1e-6) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export function nearest(lines: number[], seconds: number): number {
  const at = lineAt(lines, seconds);
  const before = lines[Math.max(at, 0)] ?? seconds;
  const after = lines[at + 1] ?? before;
  return seconds - before <= after - seconds ? before : after;
}

export function snapped(seconds: number, snap: Snap, bars: number[], beats: number[]): number {
  if (snap === "off") return seconds;
  const lines = extended(snap === "bar" ? bars : beats, seconds + 10);
  return lines.length ? nearest(lines, seconds) : seconds;
}

/** Return the next line after a time, or the one before it; so many seconds on where there are none. */
export function stepped(lines: number[], seconds: number, direction: 1 | -1, without = 1): number {
  const all = extended(lines, seconds + 10);
  if (!all.length) return Math.max(0, seconds + direction * without);
  if (direction > 0) return all.find((line) => line > seconds + 1e-3) ?? seconds + 1;
  return all.findLast((line) => line < seconds - 1e-3) ?? 0;
}

/** Return the bar and beat of a time, both from 1. */
export function place(seconds: number, bars: number[], beats: number[]): { bar: number; beat: number } {
  const allBars = extended(bars, seconds + 1);
  const allBeats = extended(beats, seconds + 1);
  const bar = lineAt(allBars, seconds);
  const first = bar < 0 ? 0 : lineAt(allBeats, allBars[bar] + 1e-3);
  return { bar: Math.max(bar + 1, 1), beat: Math.max(lineAt(allBeats, seconds) - first + 1, 1) };
}

export function clock(seconds: number): string {
  const whole = Math.max(0, seconds);
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${(whole - minutes * 60).toFixed(1).padStart(4, "0")}`;
}

/** Return a time in words, for those who listen to the page. */
export function spoken(seconds: number, bars: number[], beats: number[]): string {
  const { bar, beat } = place(seconds, bars, beats);
  const at = `${seconds.toFixed(1)} seconds`;
  return bars.length > 1 ? `bar ${bar}, beat ${beat}, ${at}` : at;
}

/** Return what is left of a work, in words, or null where nobody can know. */
export function remaining(seconds: number | null | undefined): string | null {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return null;
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s left`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min left`;
  return `${(seconds / 3600).toFixed(1)} h left`;
}
