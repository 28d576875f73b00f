/** Look closer: surprise, style, and the collections of the server. */

import { useEffect, useRef } from "preact/hooks";
import {
  classify,
  index,
  indexes,
  labels,
  likePicked,
  loadIndexes,
  matches,
  nextSuspicious,
  openIndex,
  openPicked,
  picked,
  points,
  scored,
  search,
  surprise,
} from "../actions/closer";
import type { MapPoint } from "../engine/engine";

export function Closer() {
  useEffect(() => {
    if (!indexes.value) void loadIndexes();
  }, []);
  return (
    <div class="panel-body">
      <h3>Surprise</h3>
      <p>How unexpected each note is to the model. A wrong note is; so is a good idea.</p>
      <div class="leave-row">
        <button
          type="button"
          class="chip"
          aria-pressed={scored.value !== null}
          onClick={() => void surprise()}
        >
          {scored.value ? "Colours off" : "Colour by surprise"}
        </button>
        {scored.value && (
          <button type="button" class="chip" onClick={nextSuspicious}>
            Next suspicious note <kbd>N</kbd>
          </button>
        )}
      </div>
      <h3>Sounds like</h3>
      {labels.value ? (
        <ol class="labels">
          {labels.value.result.slice(0, 5).map(({ label, probability }) => (
            <li key={label} style={{ "--share": probability }}>
              <span>{label}</span>
              <span class="figure">{Math.round(probability * 100)} %</span>
            </li>
          ))}
        </ol>
      ) : (
        <button type="button" class="chip" onClick={() => void classify()}>
          Classify
        </button>
      )}
      <h3>Collection</h3>
      <Collection />
    </div>
  );
}

function Collection() {
  const all = indexes.value;
  if (!all) return null;
  if (!all.length) {
    return (
      <p>
        No collection is open. Start the studio with one: <code>arietta studio --index NAME=FOLDER</code>.
      </p>
    );
  }
  return (
    <>
      {all.length > 1 && (
        <select
          aria-label="Collection"
          value={index.value ?? ""}
          onChange={(event) => void openIndex(event.currentTarget.value)}
        >
          {all.map(({ name, pieces }) => (
            <option key={name} value={name}>
              {name} ({pieces})
            </option>
          ))}
        </select>
      )}
      <PieceMap points={points.value} />
      <div class="leave-row">
        <button type="button" class="chip" onClick={() => void search("style")}>
          Find its style
        </button>
        <button type="button" class="chip" onClick={() => void search("notes")}>
          Find its notes
        </button>
      </div>
      {matches.value && (
        <ul class="matches">
          {matches.value.length === 0 && <li>Nothing like it was found.</li>}
          {matches.value.map(({ id, title, score, at_seconds }) => (
            <li key={`${id}${at_seconds ?? ""}`}>
              <button
                type="button"
                aria-pressed={picked.value?.id === id}
                onClick={() => (picked.value = { id, title })}
              >
                <span>{title}</span>
                <span class="figure">{score.toFixed(2)}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {picked.value && (
        <div class="picked" role="group" aria-label={picked.value.title}>
          <b>{picked.value.title}</b>
          <div class="leave-row">
            <button type="button" class="chip strong" onClick={() => void openPicked()}>
              Open
            </button>
            <button type="button" class="chip" onClick={() => void likePicked()}>
              Like this
            </button>
          </div>
        </div>
      )}
    </>
  );
}

const SIZE = 260;
const PAD = 10;

function PieceMap({ points: all }: { points: MapPoint[] }) {
  const place = useRef<SVGSVGElement>(null);
  if (!all.length) return null;
  const xs = all.map(({ x }) => x);
  const ys = all.map(({ y }) => y);
  const scale = (value: number, values: number[]) => {
    const low = Math.min(...values);
    const span = Math.max(...values) - low || 1;
    return PAD + ((value - low) / span) * (SIZE - 2 * PAD);
  };
  const names = [...new Set(all.map(({ label }) => label ?? ""))];
  const found = new Set((matches.value ?? []).map(({ id }) => id));
  return (
    <svg
      ref={place}
      class="map"
      viewBox={`0 0 ${SIZE} ${SIZE}`}
      role="group"
      aria-label="Map of the collection: pieces that are alike lie close together"
    >
      {all.map(({ id, title, x, y, label }) => (
        <circle
          key={id}
          cx={scale(x, xs)}
          cy={SIZE - scale(y, ys)}
          r={picked.value?.id === id ? 7 : found.has(id) ? 5.5 : 4}
          class="map-dot"
          data-found={found.has(id)}
          style={{ "--dot": `var(--take-${(names.indexOf(label ?? "") % 4) + 1})` }}
          role="button"
          tabIndex={0}
          aria-label={title}
          aria-pressed={picked.value?.id === id}
          onClick={() => (picked.value = { id, title })}
          onKeyDown={(event) => {
            if (event.key !== "Enter" && event.key !== " ") return;
            event.preventDefault();
            event.stopPropagation();
            picked.value = { id, title };
          }}
        >
          <title>{title}</title>
        </circle>
      ))}
    </svg>
  );
}
