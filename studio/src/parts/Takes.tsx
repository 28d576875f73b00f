/** The takes to choose from, as lanes: how each does, at a glance. */

import { choose, dropChosen, keepChosen } from "../actions/arrange";
import { PALETTE, cancelDrawing } from "../actions/takes";
import type { TakeMeasures } from "../engine/engine";
import type { Sheet } from "../logic/project";
import { asWritten, arrangement, choices, chosen, current, drawing, region } from "../state";
import { FillChips } from "./FillChips";
import { MiniRoll } from "./MiniRoll";

const BARS: { key: keyof TakeMeasures; label: string }[] = [
  { key: "in_time", label: "in time" },
  { key: "in_key", label: "in key" },
  { key: "like_prompt", label: "like you" },
];
/** How much of the piece before the seam a lane shows. */
const BEFORE = 3;

export function Takes() {
  const drawn = drawing.value;
  const mine = drawn && arrangement.value?.batch === drawn.batch ? drawn : null;
  const all = choices.value;
  const filling = all[0]?.kind === "fill" || mine?.kind === "fill" || region.value !== null;
  if (!all.length && !mine && !filling) return null;
  const end = Math.max(...all.map((sheet) => sheet.music.duration)); // one scale for all lanes
  return (
    <section class="takes" aria-label="Takes to choose from">
      {filling && <FillChips />}
      {mine && !all.length && <Awaited />}
      {all.length > 0 && (
        <ul class="lanes" aria-label="Takes">
          {all.map((sheet) => (
            <Lane key={sheet.id} sheet={sheet} end={end} />
          ))}
        </ul>
      )}
      {mine && all.length > 0 && all.length < PALETTE && <p class="lanes-note">more are coming …</p>}
      {all[0]?.kind === "performance" && (
        <button
          type="button"
          class="chip"
          aria-pressed={asWritten.value}
          onClick={() => (asWritten.value = !asWritten.value)}
        >
          as written <kbd>A</kbd>
        </button>
      )}
    </section>
  );
}

function Awaited() {
  const drawn = drawing.value!;
  const { progress } = drawn;
  const share = progress?.total ? progress.done / progress.total : null;
  const words = { take: "Drawing the takes", fill: "Filling", performance: "Playing the score" };
  const word = words[drawn.kind as keyof typeof words] ?? "Working";
  return (
    <div class="awaited">
      <span>{progress?.what || word} …</span>
      <progress value={share ?? undefined} max={1} aria-label={word} />
      <button type="button" class="chip" onClick={cancelDrawing}>
        Cancel
      </button>
    </div>
  );
}

function Lane({ sheet, end: last }: { sheet: Sheet; end: number }) {
  const here = chosen.value?.id === sheet.id;
  const { number = 1, from = 0, to, seed, rank, measures, music } = sheet;
  const start = Math.max(0, from - (sheet.kind === "performance" ? 0 : BEFORE));
  const end = sheet.kind === "fill" && to ? to + BEFORE : last;
  const seam = measures?.seam_bits_per_note;
  return (
    <li class="lane" data-here={here} style={{ "--lane": `var(--take-${number})` }}>
      <button
        type="button"
        class="lane-body"
        aria-pressed={here}
        onClick={() => choose(number)}
      >
        <span class="visually-hidden">{label(sheet)}</span>
        <kbd aria-hidden="true">{number}</kbd>
        <MiniRoll notes={music.notes} from={start} to={end} />
        {sheet.kind === "take" && (
          <span class="measures" aria-hidden="true">
            {BARS.map(({ key, label }) => (
              <span class="measure" key={key} title={`${label}: ${percent(measures?.[key])}`}>
                <i style={{ "--share": measures?.[key] ?? 0 }} />
                <small>{label}</small>
              </span>
            ))}
          </span>
        )}
        {seam !== undefined && sheet.kind === "fill" && (
          <span class="seam-figure" title="How surprising what follows becomes, bits a note: less is smoother">
            {seam > 0 ? "+" : ""}
            {seam.toFixed(2)}
          </span>
        )}
        {sheet.kind === "take" && (
          <span class="best" aria-hidden="true">
            {rank === 1 ? "best" : ""}
          </span>
        )}
        {seed !== undefined && <span class="seed" aria-hidden="true">seed {seed}</span>}
      </button>
      <span class="lane-acts">
        {here && (
          <>
          <button type="button" class="chip strong" onClick={() => void keepChosen()}>
            {sheet.kind === "fill" ? "Accept" : "Keep"}
          </button>
          <button type="button" class="chip" onClick={dropChosen}>
            Drop
          </button>
          </>
        )}
      </span>
    </li>
  );
}

const percent = (share: number | undefined) =>
  share === undefined ? "not measured" : `${Math.round(share * 100)} %`;

function label(sheet: Sheet): string {
  const told = BARS.filter(({ key }) => sheet.measures?.[key] !== undefined)
    .map(({ key, label }) => `${label} ${percent(sheet.measures?.[key])}`)
    .join(", ");
  const parent = current.value?.title ?? "";
  const best = sheet.rank === 1 ? ", the best" : "";
  return `${sheet.title} of ${parent}${best}${told ? `: ${told}` : ""}, seed ${sheet.seed ?? "unknown"}`;
}
