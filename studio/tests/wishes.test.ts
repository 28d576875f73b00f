import { expect, test } from "vitest";
import type { TakeMade } from "../src/engine/engine";
import { suited } from "../src/logic/wishes";

const take = (number: number, pitches: number[]): TakeMade => ({
  take: number,
  seed: 0,
  midi: "",
  notes: {
    pitch: pitches,
    velocity: pitches.map(() => 80),
    onset_seconds: pitches.map((_, row) => row),
    duration_seconds: pitches.map(() => 1),
    new: pitches.map((pitch) => pitch > 20),
  },
});
const old = [60, 62].map((pitch, row) => ({ pitch, velocity: 80, onset: row, duration: 1, layer: 0 }));
const takes = [take(0, [50, 52, 54]), take(1, [60, 62]), take(2, [70]), take(3, [10, 10, 10, 10, 10])];
const chosen = (wish: Parameters<typeof suited>[0]) =>
  suited(wish, takes, old, 2).map(({ take }) => take);

test("a wish picks from what was decided, and keeps its order", () => {
  expect(chosen("again")).toEqual([0, 1]);
  expect(chosen("simpler")).toEqual([2, 3]);
  expect(chosen("busier")).toEqual([0, 1]);
  expect(suited("vary", takes, old, 1).map(({ take }) => take)).toEqual([1]);
});
