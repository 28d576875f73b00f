/**
 * Play together: keys in, the model's plans out on the audio clock.
 *
 * Keys are those of a MIDI keyboard, of the computer, and those that the page draws. What is planned
 * goes to the instrument a little ahead of its time; a release takes it back, sounded or not.
 */

import { effect, signal } from "@preact/signals";
import type { DuetLink } from "../engine/engine";
import { AudioClock, type DuetState, type FromServer, PlanQueue, pitchAt } from "../logic/duet";
import type { Piano } from "../sound/piano";
import { complain, engine, playing, settings, tell } from "../state";
import { instrument } from "./playback";

/** How far ahead of its time everything is scheduled at least; the server plans as far ahead. */
const AHEAD_MS = 100;
const TICK_MS = 20;
/** Timers that come later than this stood still: the tab or the machine was suspended. */
const SUSPENDED_MS = 400;
const FIRST_TRIPS = 8;
const TRIP_MS = 40;
const ALIVE_MS = 1000;
const AGAIN_MS = 1000;
const VELOCITY = 76;
/** The model has several channels: what is taken back on one cannot be heard on the next. */
const CHANNELS = [1, 2, 3, 4, 5, 6, 7, 8];
const SUSTAIN = 64;
const SOFT = 67;
/** Inside these, letters are letters. */
const TEXTS = "input:not([type=number]), textarea, dialog";

export interface Duet {
  state: DuetState | "connecting" | "lost";
  why: string;
}
export const duet = signal<Duet | null>(null);
/** Keys that are down: yours, and those that the model plays. */
export const yours = signal<ReadonlySet<number>>(new Set());
export const theirs = signal<ReadonlySet<number>>(new Set());
export const keyboards = signal<string[]>([]);
export const octave = signal(4);

let running: Running | null = null;

export async function beginDuet(): Promise<void> {
  if (running) return;
  duet.value = { state: "connecting", why: "" };
  try {
    const piano = await instrument();
    if (!piano) {
      throw new Error("browsers give pages an instrument only on https and on this very machine");
    }
    if (duet.value && !running) running = new Running(piano);
  } catch (error) {
    duet.value = null;
    complain(error);
  }
}

export function endDuet(): void {
  running?.end();
  running = null;
  duet.value = null;
}

export const handOver = () => running?.send({ type: "takeover" });
export const stopOrGoOn = () =>
  running?.send({ type: duet.value?.state === "paused" ? "resume" : "stop" });
export const press = (pitch: number, velocity = VELOCITY) => running?.key(pitch, velocity);
export const lift = (pitch: number) => running?.key(pitch, 0);

// The music of the page and a duet do not sound at the same time.
effect(() => {
  if (playing.value) endDuet();
});
effect(() => {
  settings.value;
  running?.sendSettings();
});

class Running {
  private link: DuetLink;
  private queue = new PlanQueue();
  private readonly clock = new AudioClock();
  private offset: number | null = null;
  private channel = 0;
  private readonly struck = new Map<number, string>();
  private readonly timers: number[] = [];
  private again = 0;
  private last = performance.now();
  private over = false;
  private midi: MIDIAccess | null = null;

  constructor(private readonly piano: Piano) {
    for (const channel of CHANNELS) piano.mute(channel);
    piano.unmute(CHANNELS[0]);
    this.link = this.connect();
    this.timers.push(
      window.setInterval(() => this.tick(), TICK_MS),
      window.setInterval(() => this.ping(), ALIVE_MS),
    );
    document.addEventListener("keydown", this.onKey, true);
    document.addEventListener("keyup", this.onKey, true);
    document.addEventListener("visibilitychange", this.onSight);
    window.addEventListener("blur", this.liftAll);
    void this.openMidi();
  }

  end(): void {
    this.over = true;
    for (const timer of this.timers) window.clearInterval(timer);
    window.clearTimeout(this.again);
    document.removeEventListener("keydown", this.onKey, true);
    document.removeEventListener("keyup", this.onKey, true);
    document.removeEventListener("visibilitychange", this.onSight);
    window.removeEventListener("blur", this.liftAll);
    this.closeMidi();
    this.link.close();
    this.hush();
    this.liftAll();
    this.piano.pedal(0, this.piano.now);
  }

  send(message: { type: string } & Record<string, unknown>): void {
    this.link.send(message);
  }

  sendSettings(): void {
    const { duetMode, duetBars, duetPause } = settings.value;
    this.send({ type: "settings", mode: duetMode, bars: duetBars, pause_seconds: duetPause });
  }

  /** Take a key of yours; `at` is when it was, by the page's clock. */
  key(pitch: number, velocity: number, at = performance.now(), by = "page"): void {
    const held = this.struck.get(pitch);
    if (velocity) {
      if (held !== undefined) return;
      this.struck.set(pitch, by);
      this.piano.strike(pitch, velocity, this.piano.now);
    } else {
      if (held !== by) return;
      this.struck.delete(pitch);
      this.piano.release(pitch, this.piano.now);
    }
    yours.value = new Set(this.struck.keys());
    this.send({ type: "note", pitch, velocity, at_ms: at });
  }

  pedal(value: number, at = performance.now()): void {
    this.piano.pedal(value, this.piano.now);
    this.send({ type: "pedal", value, at_ms: at });
  }

  // The server -----------------------------------------------------------------------------

  private connect(): DuetLink {
    return engine.duet({
      open: () => {
        this.sendSettings();
        for (let trip = 0; trip < FIRST_TRIPS; trip++) {
          window.setTimeout(() => this.ping(), trip * TRIP_MS);
        }
        duet.value = { state: "listening", why: "" };
      },
      message: (message) => this.take(message),
      closed: (why) => this.lost(why),
    });
  }

  private lost(why: string): void {
    if (this.over) return;
    this.hush();
    this.offset = null;
    this.struck.clear();
    yours.value = new Set();
    duet.value = { state: "lost", why };
    this.again = window.setTimeout(() => {
      this.link = this.connect();
    }, AGAIN_MS);
  }

  private ping(): void {
    this.send({ type: "ping", sent_ms: performance.now() });
  }

  private take(message: FromServer): void {
    if (this.over) return;
    if (message.type === "pong") {
      const { sent_ms, server_ms } = message;
      this.send({ type: "trip", sent_ms, server_ms, back_ms: performance.now() });
    } else if (message.type === "clock") {
      this.offset = message.offset_ms;
    } else if (message.type === "plan") {
      if (this.queue.take(message)) this.silence();
      this.tick();
    } else if (message.type === "state") {
      duet.value = { state: message.state, why: message.why };
    } else if (message.type === "notice") {
      tell({ tone: "note", what: message.text });
    } else {
      tell({ tone: "problem", what: message.what });
    }
  }

  // The audio clock ------------------------------------------------------------------------

  private tick(): void {
    const page = performance.now();
    const lost = page - this.last;
    this.last = page;
    if (lost > SUSPENDED_MS) {
      this.hush();
      this.send({ type: "suspended", lost_ms: lost });
    }
    this.clock.see(this.piano.now, page);
    if (this.piano.context.state === "suspended") void this.piano.context.resume();
    const { offset } = this;
    if (offset === null) return;
    const channel = CHANNELS[this.channel];
    for (const move of this.queue.due(page + offset + AHEAD_MS + TICK_MS)) {
      const time = Math.max(this.clock.at(move.time - offset), this.piano.now);
      if (move.kind === "on") this.piano.strike(move.pitch, move.velocity, time, channel);
      else if (move.kind === "off") this.piano.release(move.pitch, time, channel);
      else this.piano.pedal(move.down ? 127 : 0, time, channel);
    }
    const now = this.queue.sounding(page + offset);
    if (now.length !== theirs.value.size || now.some((pitch) => !theirs.value.has(pitch))) {
      theirs.value = new Set(now);
    }
  }

  /** End what the model sounds and take back what is scheduled. */
  private silence(): void {
    this.piano.mute(CHANNELS[this.channel]);
    this.channel = (this.channel + 1) % CHANNELS.length;
    this.piano.unmute(CHANNELS[this.channel]);
    theirs.value = new Set();
  }

  private hush(): void {
    this.queue = new PlanQueue();
    this.silence();
  }

  // Your keys ------------------------------------------------------------------------------

  private readonly liftAll = () => {
    for (const pitch of this.struck.keys()) this.piano.release(pitch, this.piano.now);
    this.struck.clear();
    yours.value = new Set();
    this.send({ type: "keys_up" });
  };

  private readonly onSight = () => {
    if (!document.hidden) return this.send({ type: "resume" });
    this.liftAll();
    this.send({ type: "stop" });
  };

  private readonly onKey = (event: KeyboardEvent) => {
    const { code, type, repeat } = event;
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    const down = type === "keydown";
    if (down && (modified || (event.target as Element | null)?.closest(TEXTS))) return;
    const act = this.meaning(code, down);
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    if (!repeat) act();
  };

  private meaning(code: string, down: boolean): (() => void) | undefined {
    const pitch = pitchAt(code, octave.value);
    if (pitch !== null) {
      if (down) return () => this.key(pitch, VELOCITY, performance.now(), code);
      // The octave may be another one than when it went down.
      const held = [...this.struck].find(([, by]) => by === code)?.[0];
      return held === undefined ? undefined : () => this.key(held, 0, performance.now(), code);
    }
    if (code === "ShiftLeft") return () => this.pedal(down ? 127 : 0);
    if (!down) return undefined;
    if (code === "KeyZ") return () => (octave.value = Math.max(octave.value - 1, 1));
    if (code === "KeyX") return () => (octave.value = Math.min(octave.value + 1, 6));
    if (code === "Enter") return () => this.send({ type: "takeover" });
    if (code === "Escape") return endDuet;
    return undefined;
  }

  private async openMidi(): Promise<void> {
    if (!navigator.requestMIDIAccess) return;
    try {
      const midi = await navigator.requestMIDIAccess();
      if (this.over) return;
      this.midi = midi;
      midi.onstatechange = () => this.listen();
      this.listen();
    } catch {
      // Not allowed: the keys of the computer and of the page are left.
    }
  }

  private listen(): void {
    const before = keyboards.value;
    const names: string[] = [];
    for (const input of this.midi?.inputs.values() ?? []) {
      if (input.state !== "connected") continue;
      names.push(input.name ?? "MIDI");
      input.onmidimessage = (event) => this.onMidi(event);
    }
    keyboards.value = names;
    if (names.length < before.length) this.liftAll();
  }

  private closeMidi(): void {
    if (this.midi) this.midi.onstatechange = null;
    for (const input of this.midi?.inputs.values() ?? []) input.onmidimessage = null;
    keyboards.value = [];
  }

  private onMidi({ data, timeStamp }: MIDIMessageEvent): void {
    if (!data || data.length < 3) return;
    const [status, first, second] = data;
    const kind = status & 0xf0;
    const at = timeStamp || performance.now();
    if (kind === 0x90 || kind === 0x80) this.key(first, kind === 0x90 ? second : 0, at, "midi");
    else if (kind === 0xb0 && first === SUSTAIN) this.pedal(second, at);
    else if (kind === 0xb0 && first === SOFT) this.send({ type: "soft_pedal", value: second });
    else if (kind === 0xb0 && (first === 120 || first === 123)) this.liftAll();
  }
}
