/** What is asked of a fill: which of the many that were decided come nearest to a wish. */

import type { TakeMade } from "../engine/engine";
import type { Note } from "./music";

export type Wish = "again" | "vary" | "simpler" | "busier";

/** Two notes of one key that begin this close are the same note played again, in seconds. */
const NEAR = 0.12;

/** Return some of the takes, those that suit the wish best, in the order they came. */
export function suited(wish: Wish, takes: TakeMade[], old: Note[], count: number): TakeMade[] {
  if (wish === "again") return takes.slice(0, count);
  const worth = takes.map((take) => {
    const added = newNotes(take);
    if (wish === "simpler") return -added.length;
    return wish === "busier" ? added.length : likeness(added, old);
  });
  const order = takes.map((_, index) => index).sort((a, b) => worth[b] - worth[a]);
  const chosen = new Set(order.slice(0, count));
  return takes.filter((_, index) => chosen.has(index));
}

const newNotes = ({ notes }: TakeMade) =>
  notes.pitch
    .map((pitch, row) => ({ pitch, onset: notes.onset_seconds[row], row }))
    .filter(({ row }) => notes.new?.[row] ?? true);

/** Return the share of the old notes that a fill strikes again. */
function likeness(added: { pitch: number; onset: number }[], old: Note[]): number {
  const again = old.filter((note) =>
    added.some(({ pitch, onset }) => pitch === note.pitch && Math.abs(onset - note.onset) < NEAR),
  );
  return again.length / Math.max(old.length, added.length, 1);
}
