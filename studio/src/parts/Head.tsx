/** What is on the desk: its title, where it comes from, and the few buttons that are always there. */

import { redo, undo } from "../actions/arrange";
import { rootOf } from "../logic/project";
import {
  chosen,
  helpOpen,
  history,
  set,
  settings,
  sheets,
  shown,
  treeOpen,
} from "../state";
import { Icon } from "./Icon";

const THEMES = ["auto", "light", "dark"] as const;
const THEME_ICONS = { auto: "auto", light: "sun", dark: "moon" } as const;

export function Head() {
  const sheet = shown.value;
  const { theme } = settings.value;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const past = history.value?.past.at(-1);
  const future = history.value?.future[0];
  return (
    <header class="head">
      <button
        type="button"
        class="quiet narrow-only"
        aria-label="Pieces and takes"
        aria-expanded={treeOpen.value}
        onClick={() => (treeOpen.value = !treeOpen.value)}
      >
        <Icon name="tree" />
      </button>
      <div class="head-title">
        <h1>{sheet ? rootOf(sheets.value, sheet).title : "Arietta"}</h1>
        <p class="head-note" aria-live="polite">
          {sheet ? facts() : ""}
        </p>
      </div>
      <div class="head-buttons">
        <button
          type="button"
          class="quiet"
          aria-label={past ? `Undo: ${past.label}` : "Undo"}
          title={past ? `Undo: ${past.label} (Ctrl+Z)` : "Nothing to undo"}
          disabled={!past}
          onClick={undo}
        >
          <Icon name="undo" />
        </button>
        <button
          type="button"
          class="quiet"
          aria-label={future ? `Redo: ${future.label}` : "Redo"}
          title={future ? `Redo: ${future.label}` : "Nothing to redo"}
          disabled={!future}
          onClick={redo}
        >
          <Icon name="redo" />
        </button>
        <button
          type="button"
          class="quiet"
          aria-label={`Colours: ${theme}. Change to ${next}`}
          title={`Colours: ${theme}`}
          onClick={() => set({ theme: next })}
        >
          <Icon name={THEME_ICONS[theme]} />
        </button>
        <button
          type="button"
          class="quiet"
          aria-label="Keys"
          title="Keys (?)"
          onClick={() => (helpOpen.value = true)}
        >
          <Icon name="help" />
        </button>
      </div>
    </header>
  );
}

function facts(): string {
  const sheet = shown.value;
  if (!sheet) return "";
  const { music } = sheet;
  const parts = [sheet.kind === "piece" ? (music.isScore ? "score" : null) : sheet.title];
  if (music.key) parts.push(music.key.name);
  if (music.bars.length > 1) parts.push(`${music.bars.length} bars`);
  parts.push(`${music.notes.length.toLocaleString("en")} notes`);
  if (sheet.seed !== undefined) parts.push(`seed ${sheet.seed}`);
  if (chosen.value && sheet === chosen.value) parts.push("not kept yet");
  return parts.filter(Boolean).join(" · ");
}
