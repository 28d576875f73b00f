/** What one asks of a stretch that is filled anew. */

import { back } from "../actions/arrange";
import { fill } from "../actions/takes";
import { LOWEST, pitchName } from "../logic/music";
import type { Wish } from "../logic/wishes";
import { type Region, choices, drawing, region } from "../state";

const WISHES: { word: string; wish: Wish; keep?: string }[] = [
  { word: "again", wish: "again" },
  { word: "vary", wish: "vary" },
  { word: "simpler", wish: "simpler" },
  { word: "busier", wish: "busier" },
  { word: "other left hand", wish: "again", keep: "right-hand" },
  { word: "other right hand", wish: "again", keep: "left-hand" },
];

function band({ low, high }: Region): string {
  if (low === null || high === null) return "";
  return low > LOWEST ? `, ${pitchName(low)} and above` : `, ${pitchName(high)} and below`;
}

export function FillChips() {
  const area = region.value;
  return (
    <div class="chips" role="group" aria-label="Fill the marked stretch">
      {area && (
        <span class="chips-note">
          {area.from.toFixed(1)} – {area.to.toFixed(1)} s
          {band(area)}
        </span>
      )}
      {WISHES.map(({ word, wish, keep }) => (
        <button
          type="button"
          class="chip"
          key={word}
          disabled={drawing.value !== null}
          onClick={() => void fill(wish, keep)}
        >
          {word}
        </button>
      ))}
      <button
        type="button"
        class="chip"
        onClick={() => {
          region.value = null;
          if (choices.value.length) back();
        }}
      >
        back
      </button>
    </div>
  );
}
