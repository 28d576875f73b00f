/** Files in and out: what is dropped or chosen, what is downloaded or dragged away. */

import { fromBase64, toBase64 } from "../engine/base64";
import type { AudioFormat, MidiFile } from "../engine/engine";
import { packed, rootOf } from "../logic/project";
import {
  type Sheet,
  arrangement,
  complain,
  engine,
  like,
  newId,
  panel,
  sheets,
  shown,
  tell,
  work,
} from "../state";
import { add, openProject, show } from "./arrange";
import { train } from "./mine";
import { goTo } from "./playback";

const MUSIC = /\.(midi?|kar|rmi|musicxml|mxl|xml|mei|krn|abc)$/i;
const PROJECT = /\.arietta$/i;
export const ACCEPTED = ".mid,.midi,.kar,.rmi,.musicxml,.mxl,.xml,.mei,.krn,.abc,.arietta";
/** A folder with this many files is a collection to train on, and not pieces to open. */
const COLLECTION = 6;

export async function midiFile(file: File): Promise<MidiFile> {
  return { name: file.name, data: toBase64(new Uint8Array(await file.arrayBuffer())) };
}

export const openMidi = (file: MidiFile, title?: string) =>
  work(`Reading ${file.name}`, async (signal) => {
    const read = await engine.read(file, signal);
    const name = title || read.title || file.name.replace(/\.\w+$/, "");
    add({
      id: newId(),
      parent: null,
      kind: "piece",
      title: name,
      music: read.music,
      file,
      made: Date.now(),
    });
    goTo(0);
    if (read.music.isScore) panel.value = null;
    for (const what of read.notices) if (what) tell({ tone: "note", what });
  });

export async function openFiles(files: File[]): Promise<void> {
  const music = files.filter((file) => MUSIC.test(file.name));
  const projects = files.filter((file) => PROJECT.test(file.name));
  for (const file of projects) {
    if (!openProject(await file.text())) {
      tell({
        tone: "problem",
        what: `${file.name} is not a project of the studio`,
        mend: "Projects are saved by the studio itself (Ctrl+S) and end in .arietta.",
      });
    }
  }
  if (music.length >= COLLECTION) {
    panel.value = "mine";
    await train(music);
    return;
  }
  for (const file of music) await openMidi(await midiFile(file));
  if (!music.length && !projects.length && files.length) {
    tell({
      tone: "problem",
      what: `${files[0].name} is not music that the studio reads`,
      mend: "Drop MIDI, MusicXML, MEI, kern or ABC.",
    });
  }
}

export async function setLike(file: File): Promise<void> {
  like.value = await midiFile(file);
}

/** Return the files of a drop; folders are walked through. */
export async function dropped(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items]
    .map((item) => item.webkitGetAsEntry?.())
    .filter((entry) => entry !== null && entry !== undefined);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(walk))).flat();
}

async function walk(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject),
    );
    return [file];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: File[] = [];
  for (;;) {
    // A reader gives at most a hundred entries a call.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (!some.length) return found;
    found.push(...(await Promise.all(some.map(walk))).flat());
  }
}

// Out ----------------------------------------------------------------------------------------

export const midiBlob = (file: MidiFile) =>
  new Blob([fromBase64(file.data)], { type: "audio/midi" });

export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const fileName = (sheet: Sheet) => {
  const root = rootOf(sheets.value, sheet).title;
  const name = sheet.kind === "piece" ? root : `${root}, ${sheet.title.toLowerCase()}`;
  return name.replace(/[^\p{L}\p{N} ,.'()-]+/gu, " ").trim() || "piece";
};

/** Return the file that leaves: a score that came as MusicXML leaves as it came. */
const extension = (file: MidiFile) => file.name.match(/\.\w+$/)?.[0] ?? ".mid";

export function downloadMidi(sheet: Sheet): void {
  save(midiBlob(sheet.file), fileName(sheet) + extension(sheet.file));
}

export function downloadNew(sheet: Sheet): void {
  if (sheet.newFile) save(midiBlob(sheet.newFile), `${fileName(sheet)}, new.mid`);
}

export const downloadSound = (sheet: Sheet, format: AudioFormat) =>
  work(`Playing it into ${format.toUpperCase()}`, async (signal) => {
    save(await engine.synth(sheet.file, format, signal), `${fileName(sheet)}.${format}`);
  });

export const downloadPostcard = (sheet: Sheet) =>
  work("Writing the postcard", async (signal) => {
    const title = rootOf(sheets.value, sheet).title;
    const card = await engine.postcard(sheet.file, title, sheet.seed ?? null, signal);
    save(card, `${fileName(sheet)}.html`);
  });

/** Give a file to whatever it is dragged to; browsers that cannot do nothing. */
export function dragOut(event: DragEvent, file: MidiFile, name: string): void {
  const url = URL.createObjectURL(midiBlob(file));
  event.dataTransfer?.setData("DownloadURL", `audio/midi:${name}:${url}`);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function saveProject(): void {
  const now = arrangement.value;
  const sheet = shown.value;
  if (!now || !sheet) return;
  const text = JSON.stringify(packed(sheets.value, now));
  const name = rootOf(sheets.value, sheet).title;
  save(new Blob([text], { type: "application/json" }), `${name}.arietta`);
}

/** Open the file that the studio was started with, once. */
export async function openGiven(): Promise<boolean> {
  const file = await engine.opened();
  if (!file) return false;
  const here = [...sheets.value.values()].find((sheet) => sheet.file.data === file.data);
  if (here) show(here);
  else await openMidi(file);
  return true;
}

/** Open the shipped nocturne. */
export async function openFirst(): Promise<void> {
  try {
    const examples = await engine.examples();
    const first = examples.find((example) => example.name === "nocturne") ?? examples[0];
    if (first) await openMidi(await engine.example(first.name), first.title);
  } catch (error) {
    complain(error);
  }
}
