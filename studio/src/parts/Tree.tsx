/** Pieces and what was made of them: a tree that never forgets. */

import { useComputed, useSignal } from "@preact/signals";
import { show } from "../actions/arrange";
import { ACCEPTED, openFiles, saveProject } from "../actions/files";
import { type Branch, tree } from "../logic/project";
import { clock } from "../logic/timeline";
import { arrangement, sheets, shown, treeOpen } from "../state";
import { Icon } from "./Icon";

export function Tree() {
  const rows = useComputed(() =>
    arrangement.value ? tree(sheets.value, arrangement.value) : [],
  );
  const focus = useSignal<string | null>(null);
  const here = shown.value?.id;

  const onKey = (event: KeyboardEvent, index: number) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      const next = rows.value[index + step];
      if (!next) return;
      focus.value = next.sheet.id;
      document.getElementById(`sheet-${next.sheet.id}`)?.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      show(rows.value[index].sheet);
    }
  };

  return (
    <nav class="tree" data-open={treeOpen.value} aria-label="Pieces and takes">
      <header class="tree-head">
        <span class="brand">Arietta</span>
        <button
          type="button"
          class="quiet narrow-only"
          aria-label="Close the list"
          onClick={() => (treeOpen.value = false)}
        >
          <Icon name="close" />
        </button>
      </header>
      <ul class="tree-rows" role="tree" aria-label="Pieces and takes">
        {rows.value.map((row, index) => (
          <Row
            key={row.sheet.id}
            row={row}
            here={row.sheet.id === here}
            tabbed={(focus.value ?? here) === row.sheet.id || (!here && index === 0)}
            onKey={(event) => onKey(event, index)}
          />
        ))}
      </ul>
      <footer class="tree-foot">
        <label class="quiet file-button">
          <Icon name="plus" /> Open a file
          <input
            type="file"
            multiple
            accept={ACCEPTED}
            class="visually-hidden"
            onChange={(event) => {
              const files = [...(event.currentTarget.files ?? [])];
              event.currentTarget.value = "";
              void openFiles(files);
            }}
          />
        </label>
        <button type="button" class="quiet" onClick={saveProject} title="Save all of it (Ctrl+S)">
          Save project
        </button>
      </footer>
    </nav>
  );
}

interface RowProps {
  row: Branch;
  here: boolean;
  tabbed: boolean;
  onKey: (event: KeyboardEvent) => void;
}

const STATUS = { open: "", kept: "kept", dropped: "dropped" };

function Row({ row, here, tabbed, onKey }: RowProps) {
  const { sheet, status, depth } = row;
  const layer = sheet.kind === "piece" || sheet.kind === "performance" ? 0 : (sheet.number ?? 1);
  const note = [STATUS[status], sheet.seed === undefined ? "" : `seed ${sheet.seed}`]
    .filter(Boolean)
    .join(", ");
  return (
    <li
      id={`sheet-${sheet.id}`}
      class="tree-row"
      role="treeitem"
      aria-level={depth + 1}
      aria-selected={here}
      tabIndex={tabbed ? 0 : -1}
      data-status={status}
      data-kind={sheet.kind}
      style={{ "--depth": depth, "--dot": `var(--${layer ? `take-${layer}` : "played"})` }}
      title={note || undefined}
      onClick={() => {
        show(sheet);
        treeOpen.value = false;
      }}
      onKeyDown={onKey}
    >
      <span class="dot" />
      <span class="tree-title">{sheet.title}</span>
      {note && <span class="visually-hidden">, {note},</span>}
      <span class="tree-note">{clock(sheet.music.duration).replace(/\.\d$/, "")}</span>
    </li>
  );
}
