/** What the page plays through: the instrument in the page, or the server's rendering. */

import type { MidiFile } from "../engine/engine";
import type { Sounding } from "../logic/schedule";

/** What to sound; `file` is for instruments that can only play what was rendered whole. */
export interface Source {
  id: string;
  music: Sounding;
  file: MidiFile | null;
}

export interface Sound {
  /** Ready the instrument; has to follow a gesture. */
  prepare(): Promise<void>;
  /** Play from a moment. The first call has to follow a gesture too. */
  play(source: Source, from: number): Promise<void>;
  stop(): void;
  /** Go on with another source without a gap; `counterpart` gives the same place in its time. */
  switchTo(source: Source, counterpart?: (seconds: number) => number): void;
  /** Return where the music is, or null where nothing plays. */
  position(): number | null;
  /** Called when the music has come to its end. */
  onEnd: () => void;
}
