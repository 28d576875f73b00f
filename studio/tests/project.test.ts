import { expect, test } from "vitest";
import { begin, commit, redo, undo } from "../src/logic/history";
import { inheritLayers, notesOf } from "../src/logic/music";
import {
  type Arrangement,
  type Sheet,
  candidates,
  drop,
  keep,
  packed,
  tree,
  unpacked,
} from "../src/logic/project";

const sheet = (id: string, parent: string | null = null, number?: number): Sheet => ({
  id,
  parent,
  kind: number ? "take" : "piece",
  title: id,
  batch: number ? "b" : undefined,
  number,
  file: { name: `${id}.mid`, data: "" },
  music: {
    notes: [],
    pedal: [],
    bars: [],
    beats: [],
    tempo: [],
    key: null,
    isScore: false,
    duration: 10,
    lastRelease: 9,
  },
  made: number ?? 0,
});

const sheets = new Map(
  [sheet("a"), sheet("b"), sheet("a2", "a", 2), sheet("a1", "a", 1), sheet("a3", "a", 3)].map(
    (one) => [one.id, one],
  ),
);
const start: Arrangement = { current: "a", batch: "b", chosen: 1, status: {}, seam: {} };

test("takes stand below what they were made of", () => {
  expect(tree(sheets, start).map(({ sheet, depth }) => [sheet.id, depth])).toEqual([
    ["a", 0],
    ["a1", 1],
    ["a2", 1],
    ["a3", 1],
    ["b", 0],
  ]);
});

test("dropping goes on to the next take, and forgets none", () => {
  let now = drop(start, sheets.get("a1")!, sheets);
  expect(now.chosen).toBe(2);
  expect(candidates(sheets, now).map(({ id }) => id)).toEqual(["a2", "a3"]);
  now = drop(now, sheets.get("a2")!, sheets);
  now = drop(now, sheets.get("a3")!, sheets);
  expect(now.batch).toBeNull();
  expect(tree(sheets, now)).toHaveLength(5);
});

test("what is kept becomes the piece that goes on", () => {
  const now = keep({ ...start, chosen: 2 }, sheets.get("a2")!);
  expect(now).toMatchObject({ current: "a2", batch: null, status: { a2: "kept" } });
});

test("undo and redo go one gesture at a time, and a gesture ends what was redone", () => {
  let history = begin(1);
  history = commit(history, "two", 2);
  history = commit(history, "three", 3);
  expect(commit(history, "nothing", 3)).toBe(history);
  history = undo(undo(history));
  expect(history.present).toBe(1);
  history = redo(history);
  expect(history.present).toBe(2);
  history = commit(history, "four", 4);
  expect(redo(history)).toBe(history);
  expect(undo(history).present).toBe(2);
});

test("a project goes through its file, and other files are refused", () => {
  const text = JSON.stringify(packed(sheets, start));
  const back = unpacked(text)!;
  expect([...back.sheets.keys()]).toEqual([...sheets.keys()]);
  expect(back.arrangement).toEqual(start);
  for (const wrong of ["", "[]", "null", "{}", text.replace('"current":"a"', '"current":"gone"')]) {
    expect(unpacked(wrong)).toBeNull();
  }
});

test("kept takes keep their colours through the next take", () => {
  const table = (isNew: boolean[]) => ({
    pitch: [60, 62, 64],
    velocity: [80, 80, 80],
    onset_seconds: [0, 1, 2],
    duration_seconds: [1, 1, 1],
    new: isNew,
  });
  const first = notesOf(table([false, true, true]), 2).slice(0, 2);
  const second = inheritLayers(notesOf(table([false, false, true]), 3), first, 3);
  expect(second.map((note) => note.layer)).toEqual([0, 2, 3]);
});
