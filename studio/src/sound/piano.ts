/** The piano: a synthesiser in an audio worklet, with the bank that the server sends. */

import { WorkletSynthesizer } from "spessasynth_lib";

/** The bank is recorded quietly; the limiter behind it catches what this makes too loud. */
const GAIN = 4;
const CHANNEL = 0;
const VOLUME = 7;
const SUSTAIN = 64;
const ALL_SOUND_OFF = 120;
const USUAL_VOLUME = 100;

export class Piano {
  readonly context: AudioContext;
  private readonly fader: GainNode;
  private readonly synth: WorkletSynthesizer;

  private constructor(context: AudioContext, synth: WorkletSynthesizer) {
    this.context = context;
    this.synth = synth;
    const gain = new GainNode(context, { gain: GAIN });
    this.fader = new GainNode(context);
    const limiter = new DynamicsCompressorNode(context, {
      threshold: -6,
      knee: 4,
      ratio: 20,
      attack: 0.002,
      release: 0.12,
    });
    synth.connect(gain);
    gain.connect(this.fader).connect(limiter).connect(context.destination);
  }

  /** Return a piano that is ready to be played. */
  static async open(bank: Promise<ArrayBuffer>): Promise<Piano> {
    const context = new AudioContext({ latencyHint: "interactive" });
    const running = context.resume();
    await context.audioWorklet.addModule("./spessasynth_processor.js");
    const synth = new WorkletSynthesizer(context, { eventsEnabled: false });
    const piano = new Piano(context, synth);
    // The bank is handed over to the worklet: send a copy.
    await synth.soundBankManager.addSoundBank((await bank).slice(0), "piano");
    await synth.isReady;
    await running;
    return piano;
  }

  get now(): number {
    return this.context.currentTime;
  }

  strike(pitch: number, velocity: number, time: number, channel = CHANNEL): void {
    this.synth.noteOn(channel, pitch, velocity, { time });
  }

  release(pitch: number, time: number, channel = CHANNEL): void {
    this.synth.noteOff(channel, pitch, { time });
  }

  pedal(value: number, time: number, channel = CHANNEL): void {
    this.synth.controllerChange(channel, SUSTAIN, value, { time });
  }

  /** End what sounds on a channel; what is scheduled on it makes no sound until `unmute`. */
  mute(channel: number): void {
    this.synth.controllerChange(channel, VOLUME, 0);
    this.synth.controllerChange(channel, SUSTAIN, 0);
    this.synth.controllerChange(channel, ALL_SOUND_OFF, 0);
  }

  unmute(channel: number): void {
    this.synth.controllerChange(channel, ALL_SOUND_OFF, 0);
    this.synth.controllerChange(channel, SUSTAIN, 0);
    this.synth.controllerChange(channel, VOLUME, USUAL_VOLUME);
  }

  /** Be silent at once, without a click. */
  hush(): void {
    const { gain } = this.fader;
    gain.cancelScheduledValues(this.now);
    gain.setTargetAtTime(0, this.now, 0.015);
    this.synth.stopAll(true);
  }

  open(): void {
    const { gain } = this.fader;
    gain.cancelScheduledValues(this.now);
    gain.setTargetAtTime(1, this.now, 0.004);
  }

  cut(): void {
    this.synth.controllerChange(CHANNEL, SUSTAIN, 0);
    this.synth.stopAll(true);
  }
}
