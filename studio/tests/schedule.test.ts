import { expect, test } from "vitest";
import type { Note } from "../src/logic/music";
import { type Sounding, events, stateAt } from "../src/logic/schedule";

const note = (pitch: number, onset: number, duration: number): Note => ({
  pitch,
  velocity: 100,
  onset,
  duration,
  layer: 0,
});
const music = (notes: Note[], pedal: Sounding["pedal"] = []): Sounding => ({
  notes,
  pedal,
  frontier: Number.POSITIVE_INFINITY,
  end: 10,
});

test("stretches that follow each other hold every event once", () => {
  const played = music([note(60, 0, 1), note(62, 0.5, 2), note(64, 1, 0.25)]);
  const found = [0, 0.3, 0.6, 0.9, 1.2, 3].flatMap((from, index, all) =>
    index + 1 < all.length ? events(played, from, all[index + 1]) : [],
  );
  expect(found.map(({ kind, time }) => `${kind} ${time}`)).toEqual([
    "on 0",
    "on 0.5",
    "off 1",
    "on 1",
    "off 1.25",
    "off 2.5",
  ]);
});

test("a key is let go before it is struck again", () => {
  const found = events(music([note(60, 0, 2), note(60, 1, 1)]), 0, 3);
  expect(found.map(({ kind }) => kind)).toEqual(["on", "off", "on", "off"]);
  expect(found[1].time).toBeLessThan(1);
});

test("a jump strikes what is held there, softer the longer ago it began, and sets the pedal", () => {
  const held = music([note(40, 0, 5), note(60, 1.9, 5), note(62, 0, 2.05)], [{ time: 1, value: 90 }]);
  const found = stateAt(held, 2);
  expect(found[0]).toEqual({ kind: "pedal", time: 2, value: 90 });
  const struck = found.filter((strike) => strike.kind === "on");
  expect(struck.map(({ pitch }) => pitch)).toEqual([60, 40]); // 62 is about to end
  expect(struck[0].velocity).toBeGreaterThan(struck[1].velocity);
});
