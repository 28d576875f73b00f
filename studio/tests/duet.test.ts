import { expect, test } from "vitest";
import { AudioClock, type Plan, PlanQueue, type PlannedNote, pitchAt } from "../src/logic/duet";

let id = 0;
const plan = (from_ms: number, notes: PlannedNote[], more: Partial<Plan> = {}): Plan => ({
  type: "plan",
  id: ++id,
  replaces: null,
  from_ms,
  notes,
  pedals: [],
  committed_until_ms: from_ms,
  release: false,
  ...more,
});
const told = (queue: PlanQueue, until: number) =>
  queue.due(until).map((move) => `${move.kind} ${"pitch" in move ? move.pitch : move.down} ${move.time}`);

test("a plan is scheduled bit by bit, every event once", () => {
  const queue = new PlanQueue();
  queue.take(plan(0, [[100, 300, 60, 70], [150, 200, 64, 70]], { pedals: [[120, true], [121, true]] }));
  expect(told(queue, 90)).toEqual([]);
  expect(told(queue, 160)).toEqual(["on 60 100", "pedal true 120", "on 64 150"]);
  expect(queue.sounding(180)).toEqual([60, 64]);
  expect(told(queue, 1000)).toEqual(["off 64 200", "off 60 300"]);
  expect(told(queue, 2000)).toEqual([]);
});

test("a later plan replaces what is not scheduled and repeats nothing", () => {
  const queue = new PlanQueue();
  queue.take(plan(0, [[100, 150, 60, 70], [200, 250, 62, 70], [300, 350, 64, 70]]));
  expect(told(queue, 210)).toEqual(["on 60 100", "off 60 150", "on 62 200"]);
  expect(queue.take(plan(190, [[200, 250, 62, 70], [320, 350, 65, 70]]))).toBe(false);
  expect(told(queue, 1000)).toEqual(["off 62 250", "on 65 320", "off 65 350"]);
});

test("a release takes back all that was planned, and says that what is scheduled has to end", () => {
  const queue = new PlanQueue();
  queue.take(plan(0, [[100, 900, 60, 70], [200, 250, 62, 70], [700, 800, 64, 70]], { pedals: [[100, true]] }));
  queue.due(250);
  expect(queue.take(plan(220, [], { release: true }))).toBe(true);
  expect(told(queue, 5000)).toEqual([]);
  expect(queue.sounding(230)).toEqual([]);
  queue.take(plan(300, [[400, 500, 60, 70]], { pedals: [[400, true]] }));
  expect(told(queue, 450)).toEqual(["pedal true 400", "on 60 400"]); // the pedal was up
});

test("a key that is struck again is let go just before", () => {
  const queue = new PlanQueue();
  queue.take(plan(0, [[100, 900, 60, 70], [400, 500, 60, 70]]));
  expect(told(queue, 1000)).toEqual(["on 60 100", "off 60 388", "on 60 400", "off 60 500"]);
});

test("the audio clock is read at the beginnings of its blocks, and anew after a leap", () => {
  const clock = new AudioClock();
  clock.see(10, 1002);
  clock.see(10.003, 1003.5); // nearer to the beginning of its block
  clock.see(10.003, 1006);
  expect(clock.at(1100)).toBeCloseTo(10.0995, 6);
  clock.see(10.1, 9000);
  expect(clock.at(9000)).toBeCloseTo(10.1, 6);
});

test("the letters lie as on a piano", () => {
  expect(["KeyA", "KeyW", "KeyS", "KeyK"].map((place) => pitchAt(place, 4))).toEqual([60, 61, 62, 72]);
  expect(pitchAt("KeyQ", 4)).toBeNull();
});
