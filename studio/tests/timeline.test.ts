import { expect, test } from "vitest";
import { clock, extended, place, remaining, snapped, spoken, stepped } from "../src/logic/timeline";

const BARS = [0, 2, 4];
const BEATS = [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4];

test("lines go on at the spacing of the last two", () => {
  expect(extended(BARS, 7)).toEqual([0, 2, 4, 6, 8]);
  expect(extended([3], 9)).toEqual([3]);
  expect(extended([0, 0], 9)).toEqual([0, 0]);
});

test("the seam snaps to a bar, a beat or nothing, past the last line too", () => {
  expect(snapped(2.9, "bar", BARS, BEATS)).toBe(2);
  expect(snapped(2.9, "beat", BARS, BEATS)).toBe(3);
  expect(snapped(2.9, "off", BARS, BEATS)).toBe(2.9);
  expect(snapped(7.2, "bar", BARS, BEATS)).toBe(8);
  expect(snapped(1.3, "bar", [], [])).toBe(1.3);
});

test("arrows go from line to line and stop at the start", () => {
  expect(stepped(BEATS, 0.5, 1)).toBe(1);
  expect(stepped(BEATS, 0.7, -1)).toBe(0.5);
  expect(stepped(BARS, 0, -1)).toBe(0);
  expect(stepped(BARS, 4, 1)).toBe(6);
  expect(stepped([], 4, 1)).toBe(5);
});

test("places are counted from 1, and beats within their bar", () => {
  expect(place(0, BARS, BEATS)).toEqual({ bar: 1, beat: 1 });
  expect(place(3.1, BARS, BEATS)).toEqual({ bar: 2, beat: 3 });
  expect(spoken(3.1, BARS, BEATS)).toBe("bar 2, beat 3, 3.1 seconds");
  expect(spoken(3.1, [], [])).toBe("3.1 seconds");
});

test("times are written as clocks, and what is left in round words", () => {
  expect(clock(0)).toBe("0:00.0");
  expect(clock(75.26)).toBe("1:15.3");
  expect(remaining(12.4)).toBe("12 s left");
  expect(remaining(300)).toBe("5 min left");
  expect(remaining(null)).toBeNull();
});
