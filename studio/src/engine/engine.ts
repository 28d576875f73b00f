/**
 * What the studio asks of whatever makes music for it.
 *
 * `HttpEngine` asks the server that sent the page. A model that runs in the page itself would be
 * another class with these methods; nothing else of the studio knows where the music comes from.
 */

import type { DuetMessage, FromServer } from "../logic/duet";
import type { Music, NotesTable, PedalTable } from "../logic/music";

export interface MidiFile {
  name: string;
  /** base64 */
  data: string;
}

export interface Read {
  title: string;
  music: Music;
  notices: string[];
}

/** How a take does, each 0..1. */
export interface TakeMeasures {
  in_time?: number;
  in_key?: number;
  like_prompt?: number;
  seam_bits_per_note?: number;
}

export interface TakeMade {
  take: number;
  seed: number;
  rank?: number;
  measures?: TakeMeasures;
  notes: NotesTable;
  pedal?: PedalTable;
  midi: string;
  midi_new?: string;
  tempo?: [number, number][];
  loudness?: [number, number][];
  bars_seconds?: number[];
  beats_seconds?: number[];
}

export interface StreamedNote {
  take: number;
  pitch: number;
  velocity: number;
  onset_seconds: number;
  duration_seconds: number;
}

export interface Progress {
  done: number;
  total: number;
  what: string;
}

/** What is told while takes are made. */
export interface TakeListener {
  /** A try begins; what an earlier one told is void, since it is told again. */
  begin(): void;
  started(seamSeconds: number | undefined, seed: number | undefined): void;
  note(note: StreamedNote): void;
  progress(progress: Progress): void;
  take(take: TakeMade): void;
}

export interface ContinueRequest {
  /** null: it starts from nothing. */
  file: MidiFile | null;
  prompt_seconds: number | null;
  seconds?: number;
  bars?: number;
  seed: number;
  temperature: number;
  density: number;
  like: MidiFile | null;
  end: boolean;
  /** null: the server's own. */
  model?: string | null;
  variations?: number;
  of?: number;
}

export interface FillRequest {
  file: MidiFile;
  from_seconds: number;
  to_seconds: number;
  keep: string | null;
  /** How many come back, the smoothest first. */
  variations: number;
  seed: number;
}

export interface RenderControls {
  rubato: number;
  dynamics: number;
  pedal: number;
  /** 1: the hands as played; below, the left quieter; above, the right quieter. */
  hands: number;
}

export interface RenderRequest {
  file: MidiFile;
  controls: RenderControls;
  tempo: "written" | "free";
  variations: number;
  seed: number;
}

export interface Scored {
  nats: number[];
  suspicious: number[];
}

export interface Labelled {
  label: string;
  probability: number;
}

export interface MapPoint {
  id: string;
  title: string;
  x: number;
  y: number;
  label: string | null;
}

export interface Match {
  id: string;
  title: string;
  score: number;
  at_seconds: number | null;
}

export interface Job {
  id: string;
  state: "queued" | "running" | "paused" | "done" | "failed" | "cancelled";
  progress?: { done: number; total: number; what: string; seconds_left: number | null };
  kept?: (string | { name: string })[];
  refused?: { name: string; why: string }[];
  curve?: [step: number, nats: number][];
  result?: TrainingResult | null;
  error?: Problem | null;
}

export interface TrainingResult {
  /** What generates with it. */
  model: string;
  nats_before?: number | null;
}

export type AudioFormat = "wav" | "mp3" | "flac";

export interface Engine {
  /** Return the file that the studio was started with. */
  opened(): Promise<MidiFile | null>;
  examples(): Promise<{ name: string; title: string }[]>;
  example(name: string): Promise<MidiFile>;
  models(): Promise<{ name: string }[]>;
  read(file: MidiFile, signal?: AbortSignal): Promise<Read>;
  continue(request: ContinueRequest, on: TakeListener, signal: AbortSignal): Promise<void>;
  fill(request: FillRequest, on: TakeListener, signal: AbortSignal): Promise<void>;
  render(request: RenderRequest, on: TakeListener, signal: AbortSignal): Promise<void>;
  score(file: MidiFile, signal?: AbortSignal): Promise<Scored>;
  classify(file: MidiFile, signal?: AbortSignal): Promise<Labelled[]>;
  indexes(): Promise<{ name: string; pieces: number }[]>;
  map(index: string, signal?: AbortSignal): Promise<MapPoint[]>;
  search(
    query: { index: string; by: "style" | "notes"; file?: MidiFile; text?: string },
    signal?: AbortSignal,
  ): Promise<Match[]>;
  piece(index: string, id: string): Promise<MidiFile>;
  synth(file: MidiFile, format: AudioFormat, signal?: AbortSignal): Promise<Blob>;
  postcard(file: MidiFile, title: string, seed: number | null, signal?: AbortSignal): Promise<Blob>;
  train(files: File[], signal?: AbortSignal): Promise<string>;
  job(id: string): Promise<Job>;
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  cancel(id: string): Promise<void>;
  duet(on: DuetListener): DuetLink;
}

export interface DuetListener {
  open(): void;
  message(message: FromServer): void;
  /** The connection is over: `why` where the server says so. */
  closed(why: string): void;
}

export interface DuetLink {
  send(message: DuetMessage): void;
  close(): void;
}

/** What went wrong, why, and what mends it. */
export interface Problem {
  title?: string;
  status?: number;
  what?: string;
  why?: string;
  mend?: string;
  detail?: string;
}

export class EngineError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.what ?? problem.title ?? "Something went wrong");
  }
}

export const isCancelled = (error: unknown) =>
  error instanceof DOMException && error.name === "AbortError";
