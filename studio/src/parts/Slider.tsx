/** A slider between two words; a double click puts it back to its middle. */

import { useId } from "preact/hooks";

interface Props {
  low: string;
  high: string;
  value: number;
  onInput: (value: number) => void;
}

export function Slider({ low, high, value, onInput }: Props) {
  const id = useId();
  return (
    <div class="slider">
      <label for={id} class="slider-words">
        <span>{low}</span>
        <span class="visually-hidden">to</span>
        <span>{high}</span>
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={1}
        step={0.01}
        value={value}
        aria-valuetext={words(value, low, high)}
        onInput={(event) => onInput(event.currentTarget.valueAsNumber)}
        onDblClick={() => onInput(0.5)}
      />
    </div>
  );
}

function words(value: number, low: string, high: string): string {
  const away = Math.round(Math.abs(value - 0.5) * 200);
  if (away < 3) return `between ${low} and ${high}`;
  return `${away} % towards ${value < 0.5 ? low : high}`;
}

interface PercentProps {
  label: string;
  value: number;
  onInput: (value: number) => void;
}

export function Percent({ label, value, onInput }: PercentProps) {
  const id = useId();
  return (
    <div class="slider">
      <label for={id} class="slider-words">
        <span>{label}</span>
        <span class="figure">{Math.round(value * 100)} %</span>
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={1.5}
        step={0.01}
        value={value}
        aria-valuetext={`${Math.round(value * 100)} percent`}
        onInput={(event) => onInput(event.currentTarget.valueAsNumber)}
        onDblClick={() => onInput(1)}
      />
    </div>
  );
}
