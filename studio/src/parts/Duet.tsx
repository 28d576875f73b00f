/** Play together: the state of the duet, its few settings, and keys to play on. */

import {
  beginDuet,
  duet,
  endDuet,
  handOver,
  keyboards,
  lift,
  octave,
  press,
  stopOrGoOn,
  theirs,
  yours,
} from "../actions/duet";
import { isBlack, nameOf } from "../logic/duet";
import { set, settings } from "../state";

const STATES = {
  connecting: "One moment …",
  lost: "The connection is lost; trying again",
  listening: "It listens: play",
  armed: "It listens: you paused",
  handover: "Its turn",
  answering: "It plays; any key of yours takes over",
  yielding: "Your turn",
  paused: "It rests",
  failed: "The duet is over",
};
const OCTAVES = 2;

export function Duet() {
  const now = duet.value;
  return (
    <div class="panel-body duet">
      <p class="duet-state" aria-live="polite" data-state={now?.state ?? "off"}>
        {now ? STATES[now.state] : "Play, let go, and it answers."}
      </p>
      <div class="leave-row">
        {now ? (
          <>
            <button type="button" class="chip strong" onClick={handOver}>
              Hand over <kbd>⏎</kbd>
            </button>
            <button type="button" class="chip" onClick={stopOrGoOn}>
              {now.state === "paused" ? "Go on" : "Rest"}
            </button>
            <button type="button" class="chip" onClick={endDuet}>
              End <kbd>Esc</kbd>
            </button>
          </>
        ) : (
          <button type="button" class="chip strong" onClick={() => void beginDuet()}>
            Begin a duet
          </button>
        )}
      </div>
      <Keys />
      <p>
        Letters A–; play, Z and X change the octave, the left Shift is the pedal.{" "}
        {keyboards.value.length
          ? `MIDI: ${keyboards.value.join(", ")}.`
          : "A MIDI keyboard is found by itself."}
      </p>
      <Asked />
    </div>
  );
}

function Asked() {
  const { duetMode, duetBars, duetPause } = settings.value;
  return (
    <>
      <label>
        It
        <select
          aria-label="What it does"
          value={duetMode}
          onChange={(event) => set({ duetMode: event.currentTarget.value as "answer" | "go-on" })}
        >
          <option value="answer">answers</option>
          <option value="go-on">goes on until you play</option>
        </select>
      </label>
      <label>
        Bars of an answer
        <input
          type="number"
          min={1}
          max={64}
          value={duetBars}
          onChange={({ currentTarget: { valueAsNumber } }) =>
            set({ duetBars: Math.min(Math.max(Math.round(valueAsNumber) || 1, 1), 64) })
          }
        />
      </label>
      <label>
        Pause before it, seconds
        <input
          type="number"
          min={0.1}
          max={10}
          step={0.1}
          value={duetPause}
          onChange={({ currentTarget: { valueAsNumber } }) =>
            set({ duetPause: Math.min(Math.max(valueAsNumber || 0.9, 0.1), 10) })
          }
        />
      </label>
    </>
  );
}

/** Keys that are drawn. They have no place in the order of Tab: letters play too. */
function Keys() {
  const from = 12 * (octave.value + 1);
  const pitches = Array.from({ length: 12 * OCTAVES + 1 }, (_, step) => from + step);
  return (
    <div class="keys" role="group" aria-label="Piano keys">
      {pitches.map((pitch) => (
        <button
          type="button"
          key={pitch}
          tabIndex={-1}
          class={isBlack(pitch) ? "key black" : "key"}
          aria-label={nameOf(pitch)}
          aria-pressed={yours.value.has(pitch)}
          data-theirs={theirs.value.has(pitch)}
          disabled={!duet.value}
          onPointerDown={(event) => {
            const { top, height } = event.currentTarget.getBoundingClientRect();
            const low = Math.min(Math.max((event.clientY - top) / height, 0), 1);
            press(pitch, Math.round(40 + 70 * low)); // nearer to the edge is louder
          }}
          onPointerUp={() => lift(pitch)}
          onPointerLeave={() => lift(pitch)}
          onPointerCancel={() => lift(pitch)}
        />
      ))}
    </div>
  );
}
