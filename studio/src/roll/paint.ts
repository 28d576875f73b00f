/** Draws the roll. Two layers: the music, and over it what moves. */

import { type Note, type Pedal, endOf, isBlack } from "../logic/music";
import { pedalDown } from "../logic/schedule";
import { clock } from "../logic/timeline";
import type { Region } from "../state";
import { resolver } from "./colours";
import {
  CURVES,
  KEYS,
  PEDAL,
  RULER,
  VELOCITY,
  type View,
  barStride,
  clockStride,
  bottom,
  rowHeight,
  toSeconds,
  toX,
  toY,
} from "./view";

export interface Scene {
  notes: Note[];
  /** What a fill takes the place of. */
  ghost: Note[];
  pedal: Pedal[];
  bars: number[];
  beats: number[];
  region: Region | null;
  seam: number | null;
  /** Until when new notes are asked for, while they are drawn. */
  awaited: { from: number; to: number } | null;
  /** 0..1 for each note: how surprising it is. */
  heat: number[] | null;
  tempo: [number, number][] | null;
  loudness: [number, number][] | null;
}

export interface Colours {
  paper: string;
  row: string;
  line: string;
  bar: string;
  text: string;
  faint: string;
  key: string;
  black: string;
  accent: string;
  hot: string;
  cool: string;
  layers: string[];
}

export function coloursOf(element: Element): Colours {
  const of = resolver(element);
  return {
    paper: of("roll"),
    row: of("roll-row"),
    line: of("roll-line"),
    bar: of("roll-bar"),
    text: of("ink"),
    faint: of("ink-3"),
    key: of("roll-key"),
    black: of("roll-black"),
    accent: of("accent"),
    hot: of("hot"),
    cool: of("cool"),
    layers: ["played", "take-1", "take-2", "take-3", "take-4"].map(of),
  };
}

export const lanesOf = (scene: Scene) =>
  VELOCITY + PEDAL + (scene.tempo || scene.loudness ? CURVES : 0);

type Context = CanvasRenderingContext2D;

export function paintMusic(context: Context, view: View, scene: Scene, colours: Colours): void {
  const lanes = lanesOf(scene);
  context.clearRect(0, 0, view.width, view.height);
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, view.width, view.height);
  paintRows(context, view, lanes, colours);
  context.save();
  context.beginPath();
  context.rect(KEYS, 0, view.width - KEYS, view.height);
  context.clip();
  paintBars(context, view, scene, lanes, colours);
  paintAwaited(context, view, scene, lanes, colours);
  paintGhost(context, view, scene, lanes, colours);
  paintNotes(context, view, scene, lanes, colours);
  paintLanes(context, view, scene, lanes, colours);
  paintRegion(context, view, scene, lanes, colours);
  context.restore();
  paintKeys(context, view, lanes, colours);
}

function paintRows(context: Context, view: View, lanes: number, colours: Colours): void {
  const height = rowHeight(view, lanes);
  for (let pitch = view.low; pitch <= view.high; pitch++) {
    const y = toY(view, pitch, lanes);
    if (isBlack(pitch)) {
      context.fillStyle = colours.row;
      context.fillRect(KEYS, y, view.width - KEYS, height);
    }
    if (pitch % 12 === 0) {
      context.fillStyle = colours.line;
      context.fillRect(KEYS, Math.round(y + height), view.width - KEYS, 1);
    }
  }
}

function paintBars(
  context: Context,
  view: View,
  scene: Scene,
  lanes: number,
  colours: Colours,
): void {
  const { bars, beats } = scene;
  const until = toSeconds(view, view.width);
  const beatPixels = beats.length > 1 ? (beats[1] - beats[0]) * view.scale : 0;
  const low = bottom(view, lanes);
  if (beatPixels > 14) {
    context.fillStyle = colours.line;
    for (const beat of beats) {
      if (beat < view.from || beat > until) continue;
      context.fillRect(Math.round(toX(view, beat)), RULER, 1, low - RULER);
    }
  }
  const barPixels = bars.length > 1 ? (bars.at(-1)! - bars[0]) / (bars.length - 1) : 1;
  const stride = barStride(barPixels * view.scale);
  context.font = "500 11px 'Instrument Sans Variable', system-ui, sans-serif";
  context.textBaseline = "middle";
  bars.forEach((bar, index) => {
    if (bar < view.from - 1 || bar > until || (stride > 1 && index % stride)) return;
    const x = Math.round(toX(view, bar));
    context.fillStyle = colours.bar;
    context.fillRect(x, RULER - 8, 1, low - RULER + 8);
    context.fillStyle = colours.faint;
    context.fillText(String(index + 1), x + 5, RULER / 2 + 3);
  });
  if (bars.length > 1) return;
  // Nobody knows its bars: seconds then.
  const step = clockStride(view.scale);
  for (let second = 0; second < until; second += step) {
    const x = Math.round(toX(view, second));
    context.fillStyle = colours.bar;
    context.fillRect(x, RULER - 8, 1, low - RULER + 8);
    context.fillStyle = colours.faint;
    context.fillText(clock(second).replace(/\.\d$/, ""), x + 5, RULER / 2 + 3);
  }
}

function paintNotes(
  context: Context,
  view: View,
  scene: Scene,
  lanes: number,
  colours: Colours,
): void {
  const until = toSeconds(view, view.width);
  const height = rowHeight(view, lanes);
  const thick = Math.max(3, Math.min(height - 1, 13));
  const { notes, heat, region } = scene;
  for (let row = 0; row < notes.length; row++) {
    const note = notes[row];
    if (note.onset > until) break;
    const width = Math.max(note.duration * view.scale - 1, 2.5);
    const x = toX(view, note.onset);
    if (x + width < KEYS) continue;
    const y = toY(view, note.pitch, lanes) + (height - thick) / 2;
    context.globalAlpha = 0.38 + 0.62 * (note.velocity / 127) ** 0.8;
    context.fillStyle = colours.layers[note.layer % colours.layers.length];
    if (heat) {
      context.fillStyle = mix(colours.cool, colours.hot, heat[row] ?? 0);
      context.globalAlpha = 0.5 + 0.5 * (heat[row] ?? 0);
    }
    context.beginPath();
    context.roundRect(x, y, width, thick, Math.min(3, thick / 2, width / 2));
    context.fill();
    if (region && isIn(region, note)) {
      context.globalAlpha = 1;
      context.strokeStyle = colours.accent;
      context.lineWidth = 1;
      context.stroke();
    }
  }
  context.globalAlpha = 1;
}

const isIn = (region: Region, note: Note) =>
  note.onset >= region.from &&
  note.onset < region.to &&
  (region.low === null || note.pitch >= region.low) &&
  (region.high === null || note.pitch <= region.high);

const mixed = new Map<string, string>();
function mix(from: string, to: string, share: number): string {
  const key = `${from}${to}${Math.round(share * 20)}`;
  let found = mixed.get(key);
  if (!found) {
    found = `color-mix(in oklab, ${to} ${Math.round(share * 20) * 5}%, ${from})`;
    mixed.set(key, found);
  }
  return found;
}

function paintGhost(
  context: Context,
  view: View,
  scene: Scene,
  lanes: number,
  colours: Colours,
): void {
  const height = rowHeight(view, lanes);
  const thick = Math.max(3, Math.min(height - 1, 13));
  context.globalAlpha = 0.22;
  context.fillStyle = colours.layers[0];
  for (const note of scene.ghost) {
    const y = toY(view, note.pitch, lanes) + (height - thick) / 2;
    const width = Math.max(note.duration * view.scale - 1, 2.5);
    context.beginPath();
    context.roundRect(toX(view, note.onset), y, width, thick, Math.min(3, thick / 2));
    context.fill();
  }
  context.globalAlpha = 1;
}

function paintAwaited(
  context: Context,
  view: View,
  scene: Scene,
  lanes: number,
  colours: Colours,
): void {
  if (scene.seam !== null) {
    const x = toX(view, scene.seam);
    context.globalAlpha = 0.045;
    context.fillStyle = colours.accent;
    context.fillRect(x, RULER, view.width - x, bottom(view, lanes) - RULER);
    context.globalAlpha = 1;
  }
  if (!scene.awaited) return;
  const { from, to } = scene.awaited;
  const x = toX(view, from);
  context.globalAlpha = 0.07;
  context.fillStyle = colours.layers[1];
  context.fillRect(x, RULER, toX(view, to) - x, bottom(view, lanes) - RULER);
  context.globalAlpha = 1;
}

function paintRegion(
  context: Context,
  view: View,
  scene: Scene,
  lanes: number,
  colours: Colours,
): void {
  const { region } = scene;
  if (!region) return;
  const x = toX(view, region.from);
  const width = (region.to - region.from) * view.scale;
  const top = region.high === null ? RULER : toY(view, region.high, lanes);
  const low =
    region.low === null
      ? bottom(view, lanes)
      : toY(view, region.low, lanes) + rowHeight(view, lanes);
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.1;
  context.fillRect(x, top, width, low - top);
  context.globalAlpha = 0.9;
  context.fillRect(x, RULER - 8, width, 3);
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.lineWidth = 1;
  context.setLineDash([4, 3]);
  context.strokeRect(Math.round(x) + 0.5, top + 0.5, Math.round(width), low - top - 1);
  context.setLineDash([]);
}

function paintLanes(
  context: Context,
  view: View,
  scene: Scene,
  lanes: number,
  colours: Colours,
): void {
  const until = toSeconds(view, view.width);
  const top = bottom(view, lanes);
  context.fillStyle = colours.bar;
  context.fillRect(0, top, view.width, 1);
  // Velocities, from the foot of their lane.
  const foot = top + VELOCITY;
  for (const note of scene.notes) {
    if (note.onset > until) break;
    if (note.onset < view.from) continue;
    const height = (note.velocity / 127) * (VELOCITY - 8);
    const x = toX(view, note.onset);
    context.globalAlpha = 0.75;
    context.fillStyle = colours.layers[note.layer % colours.layers.length];
    context.fillRect(x, foot - height, 1.5, height);
    context.fillRect(x - 1, foot - height, 3.5, 2);
  }
  context.globalAlpha = 1;
  paintPedal(context, view, scene, foot, colours);
  const { tempo, loudness } = scene;
  if (!tempo && !loudness) return;
  const curves = foot + PEDAL;
  context.fillStyle = colours.bar;
  context.fillRect(0, curves, view.width, 1);
  if (tempo) paintCurve(context, view, tempo, curves, colours.layers[0], true);
  if (loudness) paintCurve(context, view, loudness, curves, colours.layers[1], false);
}

function paintPedal(
  context: Context,
  view: View,
  scene: Scene,
  top: number,
  colours: Colours,
): void {
  context.fillStyle = colours.faint;
  let down: number | null = null;
  const bar = (from: number, to: number) => {
    const x = toX(view, from);
    context.globalAlpha = 0.55;
    context.beginPath();
    context.roundRect(x, top + 5, Math.max(toX(view, to) - x - 1, 1), 5, 2.5);
    context.fill();
    context.globalAlpha = 1;
  };
  for (const { time, value } of scene.pedal) {
    if (pedalDown(value)) down ??= time;
    else if (down !== null) {
      bar(down, time);
      down = null;
    }
  }
  if (down !== null) bar(down, endOf(scene.notes));
}

function paintCurve(
  context: Context,
  view: View,
  points: [number, number][],
  top: number,
  colour: string,
  steps: boolean,
): void {
  if (!points.length) return;
  const values = points.map(([, value]) => value).sort((a, b) => a - b);
  // A single outlier would press all else flat.
  const low = values[Math.floor(values.length * 0.02)];
  const high = values[Math.ceil(values.length * 0.98) - 1];
  const span = Math.max(high - low, Math.abs(high) * 0.05, 1e-6);
  const y = (value: number) => {
    const share = Math.min(Math.max((value - low) / span, -0.05), 1.05);
    return top + CURVES - 10 - share * (CURVES - 22);
  };
  context.strokeStyle = colour;
  context.lineWidth = 1.6;
  context.lineJoin = "round";
  context.beginPath();
  let last: number | null = null;
  for (const [seconds, value] of points) {
    const x = toX(view, seconds);
    if (last !== null && steps) context.lineTo(x, last);
    if (last === null) context.moveTo(x, y(value));
    else context.lineTo(x, y(value));
    last = y(value);
  }
  context.stroke();
}

function paintKeys(context: Context, view: View, lanes: number, colours: Colours): void {
  const low = bottom(view, lanes);
  const height = rowHeight(view, lanes);
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, KEYS, view.height);
  context.fillStyle = colours.key;
  context.fillRect(0, RULER, KEYS - 8, low - RULER);
  context.font = "500 10px 'Instrument Sans Variable', system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let pitch = view.low; pitch <= view.high; pitch++) {
    const y = toY(view, pitch, lanes);
    if (isBlack(pitch)) {
      context.fillStyle = colours.black;
      context.fillRect(0, y + 0.5, (KEYS - 8) * 0.55, Math.max(height - 1, 1));
    } else if (pitch % 12 === 0 || pitch % 12 === 5) {
      context.fillStyle = colours.bar;
      context.fillRect(0, Math.round(y + height), KEYS - 8, 1);
    }
    if (pitch % 12 === 0) {
      context.fillStyle = colours.faint;
      context.fillText(`C${pitch / 12 - 1}`, KEYS - 23, y + height / 2);
    }
  }
  context.fillStyle = colours.faint;
  context.font = "500 9px 'Instrument Sans Variable', system-ui, sans-serif";
  context.fillText("touch", 6, low + VELOCITY / 2);
  context.fillText("pedal", 6, low + VELOCITY + PEDAL / 2);
  if (lanes > VELOCITY + PEDAL) {
    context.fillStyle = colours.layers[0];
    context.fillText("tempo", 6, low + VELOCITY + PEDAL + 22);
    context.fillStyle = colours.layers[1];
    context.fillText("loud", 6, low + VELOCITY + PEDAL + 40);
  }
}

/** Draw what moves: the cursor, and the keys that are down. */
export function paintMoment(
  context: Context,
  view: View,
  scene: Scene,
  seconds: number,
  sounding: boolean,
  colours: Colours,
): void {
  context.clearRect(0, 0, view.width, view.height);
  const lanes = lanesOf(scene);
  const x = toX(view, seconds);
  if (sounding) {
    const height = rowHeight(view, lanes);
    for (const note of scene.notes) {
      if (note.onset > seconds) break;
      if (note.onset + Math.max(note.duration, 0.08) < seconds) continue;
      const y = toY(view, note.pitch, lanes);
      const colour = colours.layers[note.layer % colours.layers.length];
      context.fillStyle = colour;
      context.globalAlpha = 0.9;
      context.beginPath();
      context.roundRect(0, y, KEYS - 8, Math.max(height, 3), 2);
      context.fill();
      if (x > KEYS) {
        const left = Math.max(toX(view, note.onset), KEYS);
        context.globalAlpha = 1;
        context.strokeStyle = colour;
        context.lineWidth = 2;
        context.beginPath();
        context.roundRect(left - 1, y - 1, note.duration * view.scale + 1, height + 2, 4);
        context.stroke();
      }
      context.globalAlpha = 1;
    }
  }
  if (x < KEYS - 1 || x > view.width) return;
  context.fillStyle = colours.text;
  context.fillRect(Math.round(x) - 0.75, RULER - 6, 1.5, view.height - RULER + 6);
  context.beginPath();
  context.moveTo(x - 5, RULER - 12);
  context.lineTo(x + 5, RULER - 12);
  context.lineTo(x, RULER - 4);
  context.fill();
}
