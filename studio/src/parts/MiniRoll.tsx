/** A take at a glance. */

import { effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Note } from "../logic/music";
import { resolver } from "../roll/colours";
import { settings } from "../state";

interface Props {
  notes: Note[];
  from: number;
  to: number;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const scheme = signal(dark.matches);
dark.addEventListener("change", () => {
  scheme.value = dark.matches;
});

export function MiniRoll({ notes, from, to }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const element = canvas.current!;
    const paint = () => draw(element, notes, from, to);
    const resize = new ResizeObserver(paint);
    resize.observe(element);
    const stop = effect(() => {
      void settings.value.theme;
      void scheme.value;
      requestAnimationFrame(paint);
    });
    return () => {
      resize.disconnect();
      stop();
    };
  }, [notes, from, to]);
  return <canvas class="mini" ref={canvas} aria-hidden="true" />;
}

function draw(canvas: HTMLCanvasElement, notes: Note[], from: number, to: number): void {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d")!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const colour = resolver(canvas);
  const colours = ["played", "take-1", "take-2", "take-3", "take-4"].map(colour);
  const seen = notes.filter((note) => note.onset + note.duration > from && note.onset < to);
  if (!seen.length) return;
  const low = Math.min(...seen.map((note) => note.pitch)) - 1;
  const high = Math.max(...seen.map((note) => note.pitch), low + 24) + 1;
  const scale = width / Math.max(to - from, 0.1);
  const row = height / (high - low + 1);
  for (const note of seen) {
    context.fillStyle = colours[note.layer % colours.length];
    context.globalAlpha = (note.layer ? 0.45 : 0.25) + 0.5 * (note.velocity / 127);
    const x = (note.onset - from) * scale;
    const thick = Math.max(row * 0.9, 2);
    context.fillRect(x, (high - note.pitch) * row, Math.max(note.duration * scale, 1.5), thick);
  }
}
