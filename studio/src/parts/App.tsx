/** The page. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { dropped, openFiles, setLike } from "../actions/files";
import { onKey } from "../actions/keys";
import { Roll } from "../roll/Roll";
import { complain, treeOpen } from "../state";
import { Dock } from "./Dock";
import { Head } from "./Head";
import { Help } from "./Help";
import { Notices } from "./Notices";
import { Panel } from "./Panel";
import { Takes } from "./Takes";
import { Token } from "./Token";
import { Tree } from "./Tree";

export function App() {
  const over = useSignal(false);
  useEffect(() => {
    const isFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files");
    const on = {
      keydown: onKey,
      dragover: (event: DragEvent) => {
        if (!isFiles(event)) return;
        event.preventDefault();
        over.value = true;
      },
      dragleave: (event: DragEvent) => {
        if (!event.relatedTarget) over.value = false;
      },
      drop: (event: DragEvent) => {
        over.value = false;
        if (!event.dataTransfer || !isFiles(event)) return;
        event.preventDefault();
        const toLike = (event.target as Element | null)?.closest("[data-drop=like]");
        dropped(event.dataTransfer)
          .then((files) => (toLike && files[0] ? setLike(files[0]) : openFiles(files)))
          .catch(complain);
      },
      // A button that was clicked gives the keys back: Space plays, and does not press it again.
      mousedown: (event: MouseEvent) => {
        const button = (event.target as Element | null)?.closest("button, label.file-button");
        if (button) event.preventDefault();
      },
    };
    const names = Object.keys(on) as (keyof typeof on)[];
    for (const name of names) document.addEventListener(name, on[name] as EventListener);
    return () => {
      for (const name of names) document.removeEventListener(name, on[name] as EventListener);
    };
  }, []);

  return (
    <div class="studio" data-over={over.value}>
      <Tree />
      {treeOpen.value && (
        <div class="veil narrow-only" aria-hidden="true" onClick={() => (treeOpen.value = false)} />
      )}
      <main class="desk">
        <Head />
        <Roll />
        <Takes />
      </main>
      <Panel />
      <Dock />
      <Notices />
      <Help />
      <Token />
      <div class="drop-note" aria-hidden="true">
        Drop it anywhere: MIDI or a score opens, a folder trains
      </div>
    </div>
  );
}
