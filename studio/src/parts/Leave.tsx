/** Leave with it: MIDI, sound, a postcard. */

import type { ComponentChildren } from "preact";
import {
  downloadMidi,
  downloadNew,
  downloadPostcard,
  downloadSound,
  dragOut,
  fileName,
} from "../actions/files";
import type { AudioFormat } from "../engine/engine";
import { shown } from "../state";
import { Icon } from "./Icon";

const FORMATS: AudioFormat[] = ["wav", "mp3", "flac"];

export function Leave() {
  const sheet = shown.value;
  if (!sheet) return null;
  const name = fileName(sheet);
  return (
    <div class="panel-body">
      <h3>MIDI</h3>
      <p>Your notes as they were; new ones in a track of their own. Drag it into your DAW, or:</p>
      <div class="leave-row">
        <Draggable file={sheet.file} name={`${name}.mid`}>
          whole
        </Draggable>
        <button type="button" class="chip" onClick={() => downloadMidi(sheet)}>
          Download
        </button>
      </div>
      {sheet.newFile && (
        <div class="leave-row">
          <Draggable file={sheet.newFile} name={`${name}, new.mid`}>
            only what is new
          </Draggable>
          <button
            type="button"
            class="chip"
            title="Begins at the bar of its first note"
            onClick={() => downloadNew(sheet)}
          >
            Download the new part
          </button>
        </div>
      )}
      <h3>Sound</h3>
      <div class="leave-row">
        {FORMATS.map((format) => (
          <button
            type="button"
            class="chip"
            key={format}
            onClick={() => void downloadSound(sheet, format)}
          >
            {format.toUpperCase()}
          </button>
        ))}
      </div>
      <h3>Postcard</h3>
      <p>One file that opens in any browser: the roll, the sound, the title and the seed.</p>
      <button type="button" class="chip strong" onClick={() => void downloadPostcard(sheet)}>
        Write a postcard
      </button>
    </div>
  );
}

interface DraggableProps {
  file: { name: string; data: string };
  name: string;
  children: ComponentChildren;
}

function Draggable({ file, name, children }: DraggableProps) {
  return (
    <span class="draggable" draggable onDragStart={(event) => dragOut(event, file, name)}>
      <Icon name="drag" /> {children}
    </span>
  );
}
