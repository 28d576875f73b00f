/** Settings that are seldom changed. */

import { SNAPS, type Snap } from "../logic/timeline";
import { DEFAULTS, type Settings, set, settings } from "../state";

export function Settle() {
  const { snap, theme, tempo } = settings.value;
  return (
    <div class="panel-body">
      <Choice
        name="Snap to"
        value={snap}
        choices={SNAPS}
        onChoose={(value) => set({ snap: value as Snap })}
      />
      <Choice
        name="Tempo of performances"
        value={tempo}
        choices={["written", "free"]}
        onChoose={(value) => set({ tempo: value as Settings["tempo"] })}
      />
      <Choice
        name="Colours"
        value={theme}
        choices={["auto", "light", "dark"]}
        onChoose={(value) => set({ theme: value as Settings["theme"] })}
      />
      <button type="button" class="chip" onClick={() => set(DEFAULTS)}>
        All as it was at first
      </button>
    </div>
  );
}

interface ChoiceProps {
  name: string;
  value: string;
  choices: readonly string[];
  onChoose: (value: string) => void;
}

function Choice({ name, value, choices, onChoose }: ChoiceProps) {
  return (
    <fieldset class="choice">
      <legend>{name}</legend>
      {choices.map((choice) => (
        <label key={choice}>
          <input
            type="radio"
            name={name}
            value={choice}
            checked={choice === value}
            onChange={() => onChoose(choice)}
          />
          {choice}
        </label>
      ))}
    </fieldset>
  );
}
