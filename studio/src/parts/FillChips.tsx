/** What one asks of a stretch that is filled anew. */

import { back } from "../actions/arrange";
import { type FillWish, fill, keptOutside } from "../actions/takes";
import { pitchName } from "../logic/music";
import { choices, drawing, region } from "../state";

const WISHES: { word: string; wish: FillWish }[] = [
  { word: "again", wish: {} },
  { word: "simpler", wish: { busier: 0.5 } },
  { word: "busier", wish: { busier: 2 } },
  { word: "other left hand", wish: { keep: "right-hand" } },
  { word: "other right hand", wish: { keep: "left-hand" } },
];

export function FillChips() {
  const area = region.value;
  const band =
    area && area.low !== null && area.high !== null
      ? { low: area.low, high: area.high }
      : null;
  return (
    <div class="chips" role="group" aria-label="Fill the marked stretch">
      {area && (
        <span class="chips-note">
          {area.from.toFixed(1)} – {area.to.toFixed(1)} s
          {band ? `, ${pitchName(band.low)} – ${pitchName(band.high)}` : ""}
        </span>
      )}
      {WISHES.map(({ word, wish }) => (
        <button
          type="button"
          class="chip"
          key={word}
          disabled={drawing.value !== null}
          onClick={() =>
            void fill(band && !wish.keep ? { ...wish, keep: keptOutside(band.low, band.high) } : wish)
          }
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
