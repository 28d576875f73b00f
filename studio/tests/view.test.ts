import { expect, test } from "vitest";
import { KEYS, type View, barStride, pitchRange, showing, toSeconds, toX, zoomed } from "../src/roll/view";

const view: View = { from: 10, scale: 50, width: 1000, height: 400, low: 40, high: 84 };

test("what is under the pointer stays there when it zooms", () => {
  const near = zoomed(view, 1.5, 400, 100);
  expect(near.scale).toBe(75);
  expect(toSeconds(near, 400)).toBeCloseTo(toSeconds(view, 400));
  expect(zoomed(view, 1e9, 400, 100).scale).toBe(600);
});

test("a moment in sight moves nothing; one out of sight comes into it", () => {
  expect(showing(view, 12, 100)).toBe(view);
  const moved = showing(view, 80, 100);
  expect(toX(moved, 80)).toBeGreaterThan(KEYS);
  expect(toX(moved, 80)).toBeLessThan(view.width);
});

test("numbers of bars do not touch, and few keys get air", () => {
  expect(barStride(100)).toBe(1);
  expect(barStride(10)).toBe(4);
  const { low, high } = pitchRange([{ pitch: 60, velocity: 1, onset: 0, duration: 1, layer: 0 }]);
  expect(high - low).toBeGreaterThanOrEqual(44);
});
