/**
 * Plays the server's rendering in an audio element, where the page has no audio worklet: pages on
 * plain http have none, except those of this very machine.
 */

import type { MidiFile } from "../engine/engine";
import type { Sound, Source } from "./sound";

const KEPT = 8;

export class ElementSound implements Sound {
  onEnd = () => undefined as void;
  private readonly rendered = new Map<string, Promise<string>>();
  private element: HTMLAudioElement | null = null;
  private call = 0;

  constructor(private readonly render: (file: MidiFile) => Promise<Blob>) {}

  prepare = () => Promise.resolve();

  async play(source: Source, from: number): Promise<void> {
    this.stop();
    const call = ++this.call;
    const element = await this.loaded(source);
    if (call !== this.call || !element) return;
    this.element = element;
    element.currentTime = from;
    await element.play();
  }

  stop(): void {
    this.call++;
    this.element?.pause();
    this.element = null;
  }

  switchTo(source: Source, counterpart = (seconds: number) => seconds): void {
    const call = this.call;
    void this.loaded(source).then(async (element) => {
      const old = this.element;
      if (call !== this.call || !old || !element) return;
      element.currentTime = counterpart(old.currentTime);
      await element.play();
      if (call !== this.call) return element.pause();
      old.pause();
      this.element = element;
    });
  }

  position(): number | null {
    return this.element && !this.element.paused ? this.element.currentTime : null;
  }

  private async loaded(source: Source): Promise<HTMLAudioElement | null> {
    if (!source.file) return null; // still being drawn
    const element = new Audio(await this.url(source.id, source.file));
    element.preload = "auto";
    element.onended = () => {
      if (this.element !== element) return;
      this.element = null;
      this.onEnd();
    };
    return element;
  }

  private url(id: string, file: MidiFile): Promise<string> {
    let url = this.rendered.get(id);
    if (!url) {
      url = this.render(file).then((blob) => URL.createObjectURL(blob));
      url.catch(() => this.rendered.delete(id));
      this.rendered.set(id, url);
      const [oldest] = this.rendered.keys();
      if (this.rendered.size > KEPT) {
        void this.rendered.get(oldest)?.then(URL.revokeObjectURL);
        this.rendered.delete(oldest);
      }
    }
    return url;
  }
}
