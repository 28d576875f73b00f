/** How much of the performance to take: 0 % is the score as written. */

import { retouch } from "../actions/takes";
import { type Settings, set, settings } from "../state";
import { Percent } from "./Slider";

const CONTROLS = ["rubato", "dynamics", "pedal", "hands"] as const;
const SETTLE_MS = 40;
let timer = 0;

function turn(changes: Partial<Settings>): void {
  set(changes);
  window.clearTimeout(timer);
  timer = window.setTimeout(() => void retouch(), SETTLE_MS);
}

export function PerformSliders() {
  return (
    <div class="asked perform" role="group" aria-label="How much of the performance to take">
      {CONTROLS.map((name) => (
        <Percent
          key={name}
          label={name}
          value={settings.value[name]}
          onInput={(value) => turn({ [name]: value })}
        />
      ))}
    </div>
  );
}
