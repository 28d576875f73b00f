/** The messages of a duet, and what of the model's plans has to be scheduled when. Pure. */

export type DuetState =
  | "listening"
  | "armed"
  | "handover"
  | "answering"
  | "yielding"
  | "paused"
  | "failed";

/** [onset_ms, end_ms, pitch, velocity], by the server's clock. */
export type PlannedNote = [onset: number, end: number, pitch: number, velocity: number];

export interface Plan {
  type: "plan";
  id: number;
  replaces: number | null;
  from_ms: number;
  notes: PlannedNote[];
  /** [time_ms, whether it goes down] */
  pedals: [number, boolean][];
  committed_until_ms: number;
  release: boolean;
}

export type FromServer =
  | Plan
  | { type: "pong"; sent_ms: number; server_ms: number }
  | { type: "clock"; offset_ms: number }
  | { type: "state"; state: DuetState; at_ms: number; why: string }
  | { type: "notice"; text: string }
  | { type: "error"; what: string };

export type DuetMessage = { type: string } & Record<string, unknown>;

/** What to do on the audio clock; times in ms of the server's. */
export type Move =
  | { kind: "on"; time: number; pitch: number; velocity: number }
  | { kind: "off"; time: number; pitch: number }
  | { kind: "pedal"; time: number; down: boolean };

/** Silence between two strikes of one key. */
const GAP_MS = 12;
const RANK = { off: 0, pedal: 1, on: 2 };

/** What is planned and not scheduled yet, and what is scheduled and has not ended. */
export class PlanQueue {
  private coming: PlannedNote[] = [];
  private moves: [number, boolean][] = [];
  private scheduled: PlannedNote[] = [];
  private down = false;

  /** Take a plan; return whether all that is scheduled has to be silenced and taken back. */
  take(plan: Plan): boolean {
    const kept = plan.release ? Number.NEGATIVE_INFINITY : plan.from_ms;
    if (plan.release) {
      this.scheduled = [];
      this.down = false;
    }
    const known = new Set(this.scheduled.map(([onset, , pitch]) => `${onset} ${pitch}`));
    const fresh = plan.notes.filter(([onset, , pitch]) => !known.has(`${onset} ${pitch}`));
    this.coming = [...this.coming.filter(([onset]) => onset < kept), ...fresh];
    this.coming.sort((a, b) => a[0] - b[0]);
    this.moves = [...this.moves.filter(([time]) => time < kept), ...plan.pedals];
    this.moves.sort((a, b) => a[0] - b[0]);
    return plan.release;
  }

  /** Return what happens before a moment and was not returned before, in order. */
  due(until: number): Move[] {
    const found: Move[] = [];
    while (this.coming.length && this.coming[0][0] < until) {
      const note = this.coming.shift()!;
      const [onset, , pitch, velocity] = note;
      for (const other of this.scheduled) {
        if (other[2] === pitch && other[1] > onset - GAP_MS) other[1] = onset - GAP_MS;
      }
      this.scheduled.push([...note]);
      found.push({ kind: "on", time: onset, pitch, velocity });
    }
    this.scheduled = this.scheduled.filter(([, end, pitch]) => {
      if (end >= until) return true;
      found.push({ kind: "off", time: end, pitch });
      return false;
    });
    while (this.moves.length && this.moves[0][0] < until) {
      const [time, down] = this.moves.shift()!;
      if (down !== this.down) found.push({ kind: "pedal", time, down });
      this.down = down;
    }
    return found.sort((a, b) => a.time - b.time || RANK[a.kind] - RANK[b.kind]);
  }

  /** Return the keys that sound at a moment. */
  sounding(now: number): number[] {
    return this.scheduled.filter(([onset, end]) => onset <= now && now < end).map((note) => note[2]);
  }
}

/** Times of the page -> times of the audio clock, which moves on in blocks. */
export class AudioClock {
  private ahead: number | null = null;

  /** Take both clocks as they are now: `audio` in seconds, `page` in ms. */
  see(audio: number, page: number): void {
    const ahead = audio - page / 1000;
    // The block that plays has begun already: the largest difference is the nearest.
    const jumped = this.ahead !== null && Math.abs(ahead - this.ahead) > 0.05;
    this.ahead = this.ahead === null || jumped ? ahead : Math.max(this.ahead, ahead);
  }

  at(page: number): number {
    return (this.ahead ?? 0) + page / 1000;
  }
}

/** Keys of the computer keyboard by their place, from a C: two rows as on a piano. */
const PLACES = [
  ...["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU"],
  ...["KeyJ", "KeyK", "KeyO", "KeyL", "KeyP", "Semicolon"],
];

/** Return the key of the piano under a key of the computer, or null. */
export function pitchAt(place: string, octave: number): number | null {
  const step = PLACES.indexOf(place);
  return step < 0 ? null : 12 * (octave + 1) + step;
}

const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
export const nameOf = (pitch: number) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
export const isBlack = (pitch: number) => NAMES[pitch % 12].length > 1;
