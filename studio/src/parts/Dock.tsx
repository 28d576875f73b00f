/** The foot of the page: transport, what is asked for, and the one big button. */

import { useComputed } from "@preact/signals";
import { bigAction } from "../actions/keys";
import { setLike } from "../actions/files";
import { goTo, toggle } from "../actions/playback";
import { clock, place } from "../logic/timeline";
import {
  chosen,
  current,
  cursor,
  drawing,
  like,
  lines,
  moment,
  playing,
  preparing,
  region,
  set,
  settings,
  shown,
  works,
} from "../state";
import { continueOn } from "../actions/takes";
import { Icon } from "./Icon";
import { Slider } from "./Slider";
import { PerformSliders } from "./PerformSliders";

export function Dock() {
  const big = bigAction();
  const score = current.value?.music.isScore;
  return (
    <footer class="dock">
      <Works />
      <div class="transport">
        <button type="button" class="round" aria-label="To the start" title="To the start (Home)" onClick={() => goTo(0)}>
          <Icon name="start" />
        </button>
        <button
          type="button"
          class="round play"
          aria-label={playing.value ? "Pause" : "Play"}
          aria-busy={preparing.value}
          title={playing.value ? "Pause (Space)" : "Play (Space)"}
          onClick={toggle}
        >
          <Icon name={playing.value ? "pause" : "play"} />
        </button>
        <Time />
      </div>
      {score ? <PerformSliders /> : <Asked />}
      <div class="big-box">
        {!drawing.value && !region.value && <Aside score={score ?? false} />}
        <button
          type="button"
          class="big"
          data-word={big.word}
          disabled={!shown.value}
          onClick={big.act}
          style={chosen.value ? { "--big": `var(--take-${chosen.value.number ?? 1})` } : undefined}
        >
          {big.word}
          <kbd>{{ Continue: "C", Keep: "⏎", Fill: "F", Perform: "P", Stop: "Esc" }[big.word]}</kbd>
        </button>
      </div>
    </footer>
  );
}

/** What one does almost as often as what the big button does. */
function Aside({ score }: { score: boolean }) {
  const [word, title] = score ? ["continue", "Go on from the seam (C)"] : ["ending", "Make an ending (E)"];
  return (
    <button type="button" class="quiet ending" title={title} onClick={() => void continueOn(!score)}>
      {word}
    </button>
  );
}

function Time() {
  const now = useComputed(() => (playing.value ? moment.value : cursor.value));
  const { bars, beats } = lines.value;
  const { bar, beat } = place(now.value, bars, beats);
  return (
    <p class="time">
      <b>{clock(now.value)}</b>
      {bars.length > 1 && (
        <span>
          bar {bar} · {beat}
        </span>
      )}
    </p>
  );
}

/** How the next takes are wanted. */
function Asked() {
  const { unit, bars, seconds, bold, busy } = settings.value;
  const knowsBars = (current.value?.music.bars.length ?? 0) > 1;
  const inBars = unit === "bars" && knowsBars;
  return (
    <div class="asked">
      <div class="length">
        <label for="length">Length</label>
        <span class="length-row">
          <input
            id="length"
            type="number"
            min={1}
            max={inBars ? 64 : 180}
            value={inBars ? bars : seconds}
            onKeyDown={(event) => {
              if (event.key === "Enter") event.currentTarget.blur();
            }}
            onChange={(event) => {
              const value = Math.max(1, Math.round(event.currentTarget.valueAsNumber) || 1);
              set(inBars ? { bars: Math.min(value, 64) } : { seconds: Math.min(value, 180) });
            }}
          />
          <select
            aria-label="Unit of the length"
            value={inBars ? "bars" : "seconds"}
            onChange={(event) => set({ unit: event.currentTarget.value as "bars" | "seconds" })}
          >
            <option value="seconds">seconds</option>
            <option value="bars" disabled={!knowsBars}>
              bars
            </option>
          </select>
        </span>
      </div>
      <Slider low="calm" high="bold" value={bold} onInput={(value) => set({ bold: value })} />
      <Slider low="sparse" high="busy" value={busy} onInput={(value) => set({ busy: value })} />
      <Like />
    </div>
  );
}

function Like() {
  if (like.value) {
    return (
      <button
        type="button"
        class="chip like"
        title="The next takes lean towards this. Press to let go of it."
        onClick={() => (like.value = null)}
      >
        <span>like {like.value.name.replace(/\.\w+$/, "")}</span> <Icon name="close" />
      </button>
    );
  }
  return (
    <label
      class="chip like file-button"
      title="Drop a file here: the next takes lean towards it"
      data-drop="like"
    >
      like …
      <input
        type="file"
        class="visually-hidden"
        accept=".mid,.midi"
        aria-label="Lean towards a file"
        onChange={(event) => {
          const [file] = event.currentTarget.files ?? [];
          event.currentTarget.value = "";
          if (file) void setLike(file);
        }}
      />
    </label>
  );
}

function Works() {
  const all = works.value;
  if (!all.length) return null;
  return (
    <ul class="works" aria-label="At work">
      {all.map(({ id, what, progress, cancel }) => (
        <li key={id}>
          <span role="status">{progress?.what || what} …</span>
          <progress
            value={progress?.total ? progress.done / progress.total : undefined}
            max={1}
            aria-label={what}
          />
          <button type="button" class="chip" onClick={cancel}>
            Cancel
          </button>
        </li>
      ))}
    </ul>
  );
}
