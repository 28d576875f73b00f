/** Make it mine: a training on the files of a folder, watched, paused, judged blind. */

import { signal } from "@preact/signals";
import type { Job, TakeListener, TakeMade } from "../engine/engine";
import { complain, current, engine, newSeed, tell, work } from "../state";

export const job = signal<Job | null>(null);
export const guess = signal<number | null>(null);

/** Two takes of one prompt, by the model before and after, in an order not told. */
export const blind = signal<{ takes: TakeMade[]; after: number } | null>(null);

const BLIND_SECONDS = 12;
const STORED = "arietta-job";
const WATCH_MS = 1000;
const OVER = ["done", "failed", "cancelled"];
let watching = false;

export const isOver = (state: Job["state"]) => OVER.includes(state);

export async function train(files: File[]): Promise<void> {
  const id = await work(`Handing over ${files.length} files`, (signal) =>
    engine.train(files, signal),
  );
  if (id === undefined) return;
  localStorage.setItem(STORED, id);
  guess.value = null;
  blind.value = null;
  await watch(id);
}

/** Go on watching a training that was running when the page was left. */
export async function resumeWatching(): Promise<void> {
  const id = localStorage.getItem(STORED);
  if (id) await watch(id);
}

async function watch(id: string): Promise<void> {
  if (watching) return;
  watching = true;
  try {
    for (;;) {
      job.value = await engine.job(id);
      if (isOver(job.value.state)) break;
      await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
    }
    if (job.value.state !== "done") localStorage.removeItem(STORED);
  } catch (error) {
    localStorage.removeItem(STORED);
    complain(error);
  } finally {
    watching = false;
  }
}

async function tellJob(what: (id: string) => Promise<void>): Promise<void> {
  const id = job.value?.id;
  if (!id) return;
  try {
    await what(id);
    job.value = await engine.job(id);
  } catch (error) {
    complain(error);
  }
}

export const pauseJob = () => tellJob((id) => engine.pause(id));
export const resumeJob = () => tellJob((id) => engine.resume(id));
export const cancelJob = async () => {
  await tellJob((id) => engine.cancel(id));
  tell({ tone: "note", what: "The training was cancelled; nothing was changed" });
};

export function forget(): void {
  localStorage.removeItem(STORED);
  job.value = null;
  guess.value = null;
  blind.value = null;
}

/** Let both models go on from the piece that is open. */
export const compare = () =>
  work("Playing both", async (signal) => {
    const piece = current.value;
    const after = job.value?.result?.model;
    if (!piece || !after) return;
    const seed = newSeed();
    const models = Math.random() < 0.5 ? [null, after] : [after, null];
    const takes: TakeMade[] = [];
    for (const model of models) {
      const request = {
        file: piece.file,
        prompt_seconds: piece.music.lastRelease,
        seconds: BLIND_SECONDS,
        seed,
        temperature: 1,
        density: 1,
        like: null,
        end: false,
        model,
        variations: 1,
        of: 1,
      };
      await engine.continue(request, { ...DEAF, take: (take) => takes.push(take) }, signal);
    }
    guess.value = null;
    blind.value = { takes, after: models.indexOf(after) };
  });

const DEAF: TakeListener = {
  begin: () => undefined,
  started: () => undefined,
  note: () => undefined,
  progress: () => undefined,
  take: () => undefined,
};

/** Return one sentence of before and after, where both are known. */
export function sentence({ curve = [], result }: Job): string | null {
  const before = result?.nats_before ?? curve[0]?.[1];
  const after = curve.at(-1)?.[1];
  if (before === undefined || after === undefined) return null;
  const told = `${before.toFixed(2)} nats a token before, ${after.toFixed(2)} now`;
  return after < before
    ? `Your playing surprises it less: ${told}.`
    : `Your playing surprises it as much as before: ${told}.`;
}
