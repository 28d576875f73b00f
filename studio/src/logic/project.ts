/**
 * A project: sheets, which are never forgotten, and the arrangement, which undo moves back.
 *
 * A sheet is a piece or something made of one: a take, a fill, a performance. Its parent is what
 * it was made of. A batch is what one press of the button made: up to four sheets to choose from.
 */

import type { MidiFile, TakeMeasures } from "../engine/engine";
import type { Music } from "./music";

export type Kind = "piece" | "take" | "fill" | "performance";

export interface Sheet {
  id: string;
  parent: string | null;
  kind: Kind;
  title: string;
  music: Music;
  file: MidiFile;
  /** Takes alone: only what is new, bar-aligned. */
  newFile?: MidiFile;
  batch?: string;
  /** Of a batch, from 1. */
  number?: number;
  /** Among all that were decided; 1 is the best. */
  rank?: number;
  seed?: number;
  /** Where the new notes begin and, of a fill, end. */
  from?: number;
  to?: number;
  measures?: TakeMeasures;
  tempoCurve?: [number, number][];
  loudnessCurve?: [number, number][];
  made: number;
}

export type Status = "open" | "kept" | "dropped";

export interface Arrangement {
  current: string;
  /** The batch that is being chosen from, and the number of the sheet that sounds. */
  batch: string | null;
  chosen: number;
  status: Record<string, Status>;
  seam: Record<string, number>;
}

export type Sheets = ReadonlyMap<string, Sheet>;

export interface Branch {
  sheet: Sheet;
  status: Status;
  depth: number;
}

/** Return the sheets as a tree, row by row: pieces in the order they were made, children below. */
export function tree(sheets: Sheets, arrangement: Arrangement): Branch[] {
  const children = new Map<string | null, Sheet[]>();
  for (const sheet of sheets.values()) {
    const parent = sheet.parent !== null && sheets.has(sheet.parent) ? sheet.parent : null;
    children.set(parent, [...(children.get(parent) ?? []), sheet]);
  }
  const rows: Branch[] = [];
  const visit = (parent: string | null, depth: number) => {
    const inOrder = (children.get(parent) ?? []).sort((a, b) => a.made - b.made);
    for (const sheet of inOrder) {
      rows.push({ sheet, status: statusOf(arrangement, sheet.id), depth });
      visit(sheet.id, depth + 1);
    }
  };
  visit(null, 0);
  return rows;
}

export const statusOf = (arrangement: Arrangement, id: string): Status =>
  arrangement.status[id] ?? "open";

/** Return the sheets of a batch that were not dropped, by number. */
export function candidates(sheets: Sheets, arrangement: Arrangement): Sheet[] {
  if (!arrangement.batch) return [];
  return [...sheets.values()]
    .filter((sheet) => sheet.batch === arrangement.batch)
    .filter((sheet) => statusOf(arrangement, sheet.id) !== "dropped")
    .sort((a, b) => (a.number ?? 0) - (b.number ?? 0));
}

export function open(arrangement: Arrangement, id: string): Arrangement {
  return { ...arrangement, current: id, batch: null, chosen: 1 };
}

/** Go on with a sheet of the batch. */
export function keep(arrangement: Arrangement, sheet: Sheet): Arrangement {
  const status = { ...arrangement.status, [sheet.id]: "kept" as const };
  return { ...open(arrangement, sheet.id), status };
}

/** Set a sheet of the batch aside; the one after it sounds, and the batch closes after its last. */
export function drop(arrangement: Arrangement, sheet: Sheet, sheets: Sheets): Arrangement {
  const status = { ...arrangement.status, [sheet.id]: "dropped" as const };
  const left = candidates(sheets, { ...arrangement, status });
  if (!left.length) return { ...arrangement, status, batch: null, chosen: 1 };
  const after = left.find((other) => (other.number ?? 0) > (sheet.number ?? 0)) ?? left[0];
  return { ...arrangement, status, chosen: after.number ?? 1 };
}

/** Return the piece that a sheet was made of, over all generations. */
export function rootOf(sheets: Sheets, sheet: Sheet): Sheet {
  let at = sheet;
  while (at.parent !== null) {
    const parent = sheets.get(at.parent);
    if (!parent) break;
    at = parent;
  }
  return at;
}

export function seamOf(arrangement: Arrangement, sheet: Sheet): number {
  return arrangement.seam[sheet.id] ?? sheet.music.lastRelease;
}

export interface ProjectFile {
  format: "arietta-studio";
  version: 1;
  sheets: Sheet[];
  arrangement: Arrangement;
}

export function packed(sheets: Sheets, arrangement: Arrangement): ProjectFile {
  return { format: "arietta-studio", version: 1, sheets: [...sheets.values()], arrangement };
}

/** Return a project from a file's text; null where it is none. */
export function unpacked(text: string): { sheets: Sheets; arrangement: Arrangement } | null {
  let value: ProjectFile;
  try {
    value = JSON.parse(text) as ProjectFile;
  } catch {
    return null;
  }
  if (value?.format !== "arietta-studio" || value.version !== 1) return null;
  if (!Array.isArray(value.sheets) || !value.sheets.length || !value.arrangement) return null;
  const sheets = new Map(value.sheets.map((sheet) => [sheet.id, sheet]));
  if (!sheets.has(value.arrangement.current)) return null;
  return { sheets, arrangement: value.arrangement };
}
