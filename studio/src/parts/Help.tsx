/** The keys, one line each. */

import { useEffect, useRef } from "preact/hooks";
import { helpOpen } from "../state";
import { Icon } from "./Icon";

const KEYS: [string, string][] = [
  ["Space", "play from the cursor, pause"],
  ["← →", "a beat back, a beat on; with Shift a bar"],
  ["Home End", "to the start, to the end"],
  ["C", "go on; with a take chosen, go on from it"],
  ["E", "make an ending"],
  ["1 2 3 4", "listen to another take, at the same moment"],
  ["Enter", "keep the take"],
  ["Delete", "drop the take"],
  ["drag", "mark a stretch; with Shift a band of keys"],
  ["F", "fill the marked stretch"],
  ["P", "perform the score"],
  ["A", "as written, as performed"],
  ["N", "next suspicious note"],
  ["S", "snap to bar, beat or nothing"],
  ["Ctrl Z", "undo one gesture; with Shift redo"],
  ["Ctrl S", "save the project as a file"],
  ["wheel", "scroll; with Ctrl zoom"],
  ["A – ;", "in a duet: play; Z and X change the octave, Shift is the pedal, Enter hands over"],
  ["Esc", "stop what is drawn, leave the choice"],
];

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = helpOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog
      ref={dialog}
      class="help"
      aria-label="Keys"
      onClose={() => (helpOpen.value = false)}
      onClick={(event) => {
        if (event.target === dialog.current) helpOpen.value = false;
      }}
    >
      <header>
        <h2>Keys</h2>
        <button
          type="button"
          class="quiet"
          aria-label="Close"
          onClick={() => (helpOpen.value = false)}
        >
          <Icon name="close" />
        </button>
      </header>
      <dl>
        {KEYS.map(([key, meaning]) => (
          <div key={key}>
            <dt>{key.includes(" ") && key !== "← →" ? key.split(" ").map((part) => <kbd key={part}>{part}</kbd>) : <kbd>{key}</kbd>}</dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </dialog>
  );
}
