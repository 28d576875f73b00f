/** Make it mine: drop a folder, watch it learn, judge it blind. */

import { useRef } from "preact/hooks";
import {
  blind,
  cancelJob,
  compare,
  forget,
  guess,
  isOver,
  job,
  pauseJob,
  resumeJob,
  sentence,
  train,
} from "../actions/mine";
import type { Job, TakeMade } from "../engine/engine";
import { notesOf, pedalOf, endOf } from "../logic/music";
import { remaining } from "../logic/timeline";
import { sound } from "../actions/playback";
import { playing } from "../state";

const LEAD_SECONDS = 2;

export function Mine() {
  return <div class="panel-body">{job.value ? <Training job={job.value} /> : <Begin />}</div>;
}

function Begin() {
  const folder = useRef<HTMLInputElement>(null);
  return (
    <>
      <p>
        Drop a folder of your own playing anywhere on the page. A model learns from it here, on this
        machine; nothing leaves it.
      </p>
      <label class="chip strong file-button">
        Choose a folder
        <input
          ref={folder}
          type="file"
          multiple
          class="visually-hidden"
          {...{ webkitdirectory: true }}
          onChange={(event) => {
            const files = [...(event.currentTarget.files ?? [])];
            event.currentTarget.value = "";
            if (files.length) void train(files);
          }}
        />
      </label>
    </>
  );
}

function Training({ job: now }: { job: Job }) {
  const { state, progress, kept = [], refused = [], curve = [] } = now;
  const share = progress?.total ? progress.done / progress.total : undefined;
  return (
    <>
      <p class="job-state" aria-live="polite">
        {progress?.what && !isOver(state) ? progress.what : STATES[state]}
        {!isOver(state) && remaining(progress?.seconds_left) && (
          <span> · {remaining(progress?.seconds_left)}</span>
        )}
      </p>
      {!isOver(state) && <progress value={share} max={1} aria-label="Training" />}
      {curve.length > 1 && <Curve points={curve} />}
      {!isOver(state) && (
        <div class="leave-row">
          {state === "paused" ? (
            <button type="button" class="chip" onClick={() => void resumeJob()}>
              Go on
            </button>
          ) : (
            <button type="button" class="chip" onClick={() => void pauseJob()}>
              Pause
            </button>
          )}
          <button type="button" class="chip" onClick={() => void cancelJob()}>
            Cancel
          </button>
        </div>
      )}
      {now.error && (
        <p role="alert">
          {now.error.what ?? now.error.title} {now.error.mend}
        </p>
      )}
      {state === "done" && <Outcome job={now} />}
      {(kept.length > 0 || refused.length > 0) && (
        <details>
          <summary>
            {kept.length} kept{refused.length ? `, ${refused.length} not` : ""}
          </summary>
          <ul class="refused">
            {refused.map(({ name, why }) => (
              <li key={name}>
                <b>{name}</b> {why}
              </li>
            ))}
          </ul>
        </details>
      )}
      {isOver(state) && (
        <button type="button" class="chip" onClick={forget}>
          Train on another folder
        </button>
      )}
    </>
  );
}

const STATES: Record<Job["state"], string> = {
  queued: "Waiting for its turn",
  running: "Learning",
  paused: "Paused",
  done: "Done",
  failed: "It failed",
  cancelled: "Cancelled",
};

function Curve({ points }: { points: [number, number][] }) {
  const WIDTH = 260;
  const HEIGHT = 90;
  const steps = points.map(([step]) => step);
  const values = points.map(([, value]) => value);
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const first = steps[0];
  const length = (steps.at(-1) ?? 1) - first || 1;
  const line = points
    .map(
      ([step, value]) =>
        `${((step - first) / length) * WIDTH},${8 + (1 - (value - low) / span) * (HEIGHT - 16)}`,
    )
    .join(" ");
  return (
    <svg
      class="curve"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`Nats a note, from ${values[0].toFixed(2)} to ${values.at(-1)?.toFixed(2)}; lower is better`}
    >
      <polyline points={line} />
    </svg>
  );
}

function Outcome({ job: now }: { job: Job }) {
  const told = sentence(now);
  const pair = blind.value;
  return (
    <>
      {told && <p class="sentence">{told}</p>}
      {!pair && (
        <button type="button" class="chip strong" onClick={() => void compare()}>
          Choose blind between before and after
        </button>
      )}
      {pair && (
        <div class="blind">
          <p>Two ways to go on from the piece that is open. Which do you like better?</p>
          {pair.takes.map((take, number) => (
            <span class="blind-take" key={number}>
              <button type="button" class="chip" onClick={() => void listen(take, number)}>
                Listen to {number ? "B" : "A"}
              </button>
              <button
                type="button"
                class="chip"
                aria-pressed={guess.value === number}
                onClick={() => (guess.value = number)}
              >
                I prefer {number ? "B" : "A"}
              </button>
            </span>
          ))}
          {guess.value !== null && (
            <p class="sentence" role="status">
              {guess.value === pair.after
                ? "You chose the model that learned from you."
                : "You chose the model as it was before."}
            </p>
          )}
        </div>
      )}
    </>
  );
}

async function listen(take: TakeMade, number: number): Promise<void> {
  const notes = notesOf(take.notes);
  const frontier = Number.POSITIVE_INFINITY;
  const music = { notes, pedal: pedalOf(take.pedal), frontier, end: endOf(notes) };
  const from = notes.find((_, row) => take.notes.new?.[row])?.onset ?? 0;
  playing.value = true;
  const source = { id: `blind-${number}`, music, file: { name: "take.mid", data: take.midi } };
  await sound.play(source, Math.max(0, from - LEAD_SECONDS));
}
