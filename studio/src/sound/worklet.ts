/** Plays notes through the piano in the page: schedules a little ahead of the clock. */

import { type Strike, events, stateAt } from "../logic/schedule";
import { Piano } from "./piano";
import type { Sound, Source } from "./sound";

const AHEAD = 0.12;
const TICK_MS = 25;
/** From the click to the first note, once the piano is ready. */
const LEAD = 0.05;
/** How long the last strings are left to ring. */
const TAIL = 2.5;

export class WorkletSound implements Sound {
  onEnd = () => undefined as void;
  private piano: Promise<Piano> | null = null;
  private ready: Piano | null = null;
  private source: Source | null = null;
  private timer = 0;
  private call = 0;
  /** The context's time of the music's second 0, and until which second all is scheduled. */
  private zero = 0;
  private done = 0;
  private held = new Map<number, number>();
  private silence = 0;

  constructor(private readonly bank: () => Promise<ArrayBuffer>) {}

  async prepare(): Promise<void> {
    this.piano ??= Piano.open(this.bank());
    try {
      this.ready = await this.piano;
    } catch (error) {
      this.piano = null;
      throw error;
    }
  }

  /** Return the instrument itself, ready to be played. The first call has to follow a gesture. */
  async instrument(): Promise<Piano> {
    this.stop();
    const piano = await this.waited();
    piano.cut();
    piano.open();
    return piano;
  }

  async play(source: Source, from: number): Promise<void> {
    this.stop();
    const call = ++this.call;
    const piano = await this.waited();
    if (call !== this.call) return;
    piano.cut();
    piano.open();
    this.source = source;
    this.zero = piano.now + LEAD - from;
    this.done = from;
    this.send(stateAt(source.music, from));
    this.timer = window.setInterval(() => this.tick(), TICK_MS);
    this.tick();
  }

  /** Return the piano when it is ready and what was scheduled before the last stop is over. */
  private async waited(): Promise<Piano> {
    await this.prepare();
    const piano = this.ready!;
    if (piano.context.state !== "running") await piano.context.resume();
    while (piano.now < this.silence) await new Promise((resolve) => setTimeout(resolve, 10));
    return piano;
  }

  stop(): void {
    this.call++;
    window.clearInterval(this.timer);
    if (!this.source || !this.ready) return;
    this.source = null;
    this.held.clear();
    this.silence = this.ready.now + AHEAD + 0.03;
    this.ready.hush();
    // Strikes that are already under way sound into a closed fader; end them too.
    const call = this.call;
    window.setTimeout(() => call === this.call && this.ready?.cut(), (AHEAD + 0.03) * 1000);
  }

  switchTo(source: Source, counterpart = (seconds: number) => seconds): void {
    if (!this.source || !this.ready || source === this.source) return;
    for (const pitch of this.held.keys()) this.ready.release(pitch, this.zero + this.done);
    this.held.clear();
    const from = counterpart(this.done);
    this.zero += this.done - from;
    this.done = from;
    this.source = source;
    this.send(stateAt(source.music, from));
  }

  position(): number | null {
    if (!this.source || !this.ready) return null;
    return Math.min(Math.max(0, this.ready.now - this.zero), this.done);
  }

  private tick(): void {
    const { source, ready } = this;
    if (!source || !ready) return;
    const target = ready.now - this.zero + AHEAD;
    const until = Math.min(target, source.music.frontier);
    if (until > this.done) {
      this.send(events(source.music, this.done, until));
      this.done = until;
    }
    // The music is not known yet: it waits, and goes on when it is.
    if (target > source.music.frontier) this.zero += target - source.music.frontier;
    else if (this.done > source.music.end + TAIL) {
      this.stop();
      this.onEnd();
    }
  }

  private send(strikes: Strike[]): void {
    const piano = this.ready;
    if (!piano) return;
    for (const strike of strikes) {
      const time = Math.max(this.zero + strike.time, piano.now);
      if (strike.kind === "pedal") piano.pedal(strike.value, time);
      else if (strike.kind === "off") {
        piano.release(strike.pitch, time);
        this.held.delete(strike.pitch);
      } else {
        piano.strike(strike.pitch, strike.velocity, time);
        this.held.set(strike.pitch, time);
      }
    }
  }
}
