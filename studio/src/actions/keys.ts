/** One key for each thing one does often. */

import {
  asWritten,
  choices,
  chosen,
  current,
  drawing,
  helpOpen,
  region,
  set,
  settings,
  shown,
} from "../state";
import { back, choose, dropChosen, keepChosen, redo, undo } from "./arrange";
import { nextSuspicious } from "./closer";
import { saveProject } from "./files";
import { goTo, step, toggle } from "./playback";
import { cancelDrawing, continueOn, fill, perform } from "./takes";
import { SNAPS } from "../logic/timeline";

/** Inside these, keys mean what they mean there. */
const OWN_KEYS = "input, textarea, select, [contenteditable], dialog";
const PRESSED_BY = "button, a[href], summary, [role=treeitem], [role=tab]";

export const bigAction = (): { word: string; act: () => void } => {
  if (drawing.value) return { word: "Stop", act: cancelDrawing };
  if (chosen.value) return { word: "Keep", act: () => void keepChosen() };
  if (region.value) return { word: "Fill", act: () => void fill() };
  if (current.value?.music.isScore) return { word: "Perform", act: () => void perform() };
  return { word: "Continue", act: () => void continueOn() };
};

const plain: Record<string, () => void> = {
  Home: () => goTo(0),
  End: () => goTo(shown.value?.music.duration ?? 0),
  c: () => void continueOn(),
  e: () => void continueOn(true),
  f: () => void fill(),
  p: () => void perform(),
  n: nextSuspicious,
  a: () => {
    if (chosen.value) asWritten.value = !asWritten.value;
  },
  s: () => set({ snap: SNAPS[(SNAPS.indexOf(settings.value.snap) + 1) % SNAPS.length] }),
  Delete: dropChosen,
  Backspace: dropChosen,
  Escape: () => {
    if (helpOpen.value) helpOpen.value = false;
    else if (drawing.value) cancelDrawing();
    else if (region.value) region.value = null;
    else back();
  },
  "?": () => {
    helpOpen.value = !helpOpen.value;
  },
};

export function onKey(event: KeyboardEvent): void {
  const target = event.target as Element | null;
  const { key } = event;
  if (event.ctrlKey || event.metaKey) return withControl(event);
  if (event.altKey || target?.closest(OWN_KEYS)) return;
  const act = meaning(event, target);
  if (!act) return;
  event.preventDefault();
  if (key !== " " || !event.repeat) act();
}

function meaning(event: KeyboardEvent, target: Element | null): (() => void) | undefined {
  const { key } = event;
  const pressed = target?.closest(PRESSED_BY);
  if (key === " ") return pressed ? undefined : toggle;
  if (key === "Enter") return pressed || !chosen.value ? undefined : () => void keepChosen();
  if (key === "ArrowLeft" || key === "ArrowRight") {
    if (target?.closest("[role=treeitem], [role=tab], [role=slider][data-own]")) return undefined;
    const direction = key === "ArrowLeft" ? -1 : 1;
    return () => step(direction, event.shiftKey ? "bar" : "beat");
  }
  if (/^[1-9]$/.test(key)) return choices.value.length ? () => choose(Number(key)) : undefined;
  return plain[key.length === 1 ? key.toLowerCase() : key];
}

function withControl(event: KeyboardEvent): void {
  const key = event.key.toLowerCase();
  const act =
    key === "z" && !event.shiftKey
      ? undo
      : key === "y" || (key === "z" && event.shiftKey)
        ? redo
        : key === "s"
          ? saveProject
          : undefined;
  if (!act || (key !== "s" && (event.target as Element | null)?.closest("input[type=text]"))) return;
  event.preventDefault();
  act();
}

