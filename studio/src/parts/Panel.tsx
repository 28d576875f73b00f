/** The right side: what is needed less often, folded away until it is. */

import type { ComponentType } from "preact";
import { type PanelName, panel } from "../state";
import { Closer } from "./Closer";
import { Duet } from "./Duet";
import { Icon } from "./Icon";
import { Leave } from "./Leave";
import { Mine } from "./Mine";
import { Settle } from "./Settle";

const PANELS: { name: PanelName; word: string; Body: ComponentType }[] = [
  { name: "leave", word: "Leave with it", Body: Leave },
  { name: "closer", word: "Look closer", Body: Closer },
  { name: "mine", word: "Make it mine", Body: Mine },
  { name: "duet", word: "Duet", Body: Duet },
  { name: "continue", word: "Settings", Body: Settle },
];

export function Panel() {
  const open = PANELS.find(({ name }) => name === panel.value);
  return (
    <aside class="side" aria-label="More" data-open={open !== undefined}>
      <div class="rail">
        {PANELS.map(({ name, word }) => (
          <button
            type="button"
            key={name}
            aria-expanded={panel.value === name}
            aria-controls="panel"
            onClick={() => (panel.value = panel.value === name ? null : name)}
          >
            {word}
          </button>
        ))}
      </div>
      <div id="panel" class="panel" hidden={!open}>
        {open && (
          <>
            <header>
              <h2>{open.word}</h2>
              <button
                type="button"
                class="quiet"
                aria-label={`Close: ${open.word}`}
                onClick={() => (panel.value = null)}
              >
                <Icon name="close" />
              </button>
            </header>
            <open.Body />
          </>
        )}
      </div>
    </aside>
  );
}
