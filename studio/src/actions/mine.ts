/** Make it mine: a training on the files of a folder, watched, paused, judged blind. */

import { signal } from "@preact/signals";
import type { Job } from "../engine/engine";
import { complain, engine, tell, work } from "../state";

export const job = signal<Job | null>(null);
export const guess = signal<number | null>(null);

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
}
