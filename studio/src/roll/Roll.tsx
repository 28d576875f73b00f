/** The roll: notes, lanes and the line that moves; drag to mark, wheel to scroll, handle for the seam. */

import { effect, useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { TargetedKeyboardEvent, TargetedPointerEvent } from "preact";
import { goTo, position } from "../actions/playback";
import { HIGHEST, LOWEST } from "../logic/music";
import { moveSeam } from "../actions/arrange";
import { scored } from "../actions/closer";
import { clock, snapped, spoken, stepped } from "../logic/timeline";
import {
  arrangement,
  asWritten,
  chosen,
  current,
  cursor,
  drawing,
  goToShown,
  lines,
  moment,
  playing,
  region,
  seam,
  settings,
  shown,
} from "../state";
import { type Scene, type Colours, coloursOf, lanesOf, paintMoment, paintMusic } from "./paint";
import {
  KEYS,
  RULER,
  type View,
  pitchRange,
  scrolled,
  showing,
  toPitch,
  toSeconds,
  toX,
  zoomed,
} from "./view";

const SECONDS_IN_SIGHT = 26;
const DRAG_PX = 4;
const PRESS_MS = 420;
const TURN_MS = 380;

function sceneNow(): Scene {
  const sheet = shown.value;
  const base = current.value;
  const drawn = drawing.value;
  const empty: Scene = {
    notes: [],
    ghost: [],
    pedal: [],
    bars: [],
    beats: [],
    region: null,
    seam: null,
    awaited: null,
    heat: null,
    tempo: null,
    loudness: null,
  };
  if (!sheet || !base) return empty;
  const live = drawn !== null && arrangement.value?.batch === drawn.batch;
  const { bars, beats } = lines.value;
  const scene: Scene = {
    ...empty,
    notes: sheet.music.notes,
    pedal: sheet.music.pedal,
    bars,
    beats,
    region: chosen.value ? null : region.value,
    seam: chosen.value || live ? null : seam.value,
    heat: heatOf(sheet.id),
    tempo: sheet.tempoCurve ?? null,
    loudness: sheet.loudnessCurve ?? null,
  };
  if (live && !chosen.value) {
    const { kind, from, to } = drawn;
    if (kind === "take") {
      scene.notes = [...base.music.notes.filter((note) => note.onset < from), ...drawn.notes];
      scene.pedal = base.music.pedal.filter((event) => event.time < from);
    }
    scene.awaited = { from, to: to ?? from + wanted() };
  }
  if (chosen.value?.kind === "fill" && !asWritten.value) {
    const { from = 0, to = 0 } = chosen.value;
    scene.ghost = base.music.notes.filter((note) => note.onset >= from && note.onset < to);
    scene.awaited = { from, to };
  }
  return scene;
}

function wanted(): number {
  const { unit, bars, seconds } = settings.value;
  const all = lines.value.bars;
  if (unit === "seconds" || all.length < 2) return seconds;
  return bars * (all[all.length - 1] - all[all.length - 2]);
}

function heatOf(sheet: string): number[] | null {
  const found = scored.value;
  if (found?.sheet !== sheet) return null;
  const { nats } = found.result;
  const ordered = [...nats].filter(Number.isFinite).sort((a, b) => a - b);
  const middle = ordered[Math.floor(ordered.length / 2)] ?? 0;
  const top = ordered[Math.floor(ordered.length * 0.985)] ?? 1;
  return nats.map((value) => Math.min(Math.max((value - middle) / Math.max(top - middle, 1e-6), 0), 1));
}

export function Roll() {
  const frame = useRef<HTMLDivElement>(null);
  const below = useRef<HTMLCanvasElement>(null);
  const above = useRef<HTMLCanvasElement>(null);
  const view = useSignal<View>({ from: -0.6, scale: 40, width: 0, height: 0, low: 40, high: 84 });
  const scene = useComputed(sceneNow);

  useEffect(() => {
    const box = frame.current!;
    return mount(box, below.current!, above.current!, view, scene);
  }, []);

  const text = useComputed(() =>
    spoken(playing.value ? moment.value : cursor.value, lines.value.bars, lines.value.beats),
  );

  return (
    <div class="roll" ref={frame}>
      <canvas ref={below} aria-hidden="true" />
      <canvas
        ref={above}
        class="roll-top"
        id="roll"
        tabIndex={0}
        role="slider"
        aria-label="Piano roll: the cursor"
        aria-valuemin={0}
        aria-valuemax={Math.ceil(shown.value?.music.duration ?? 0)}
        aria-valuenow={Math.round(cursor.value * 10) / 10}
        aria-valuetext={text.value}
      />
      <Seam view={view} />
    </div>
  );
}

type Live<Value> = { value: Value; peek(): Value };

function mount(
  box: HTMLElement,
  below: HTMLCanvasElement,
  above: HTMLCanvasElement,
  view: Live<View>,
  scene: Live<Scene>,
): () => void {
  let colours: Colours = coloursOf(box);
  let dirty = true;
  let turn: { from: number; to: number; began: number } | null = null;
  let following = true;
  const low = below.getContext("2d", { alpha: false })!;
  const top = above.getContext("2d")!;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const end = () => Math.max(shown.peek()?.music.duration ?? 0, seam.peek()) + wanted();

  const recolour = () => {
    colours = coloursOf(box);
    dirty = true;
  };
  dark.addEventListener("change", recolour);
  void document.fonts?.ready.then(() => {
    dirty = true;
  });

  const resize = new ResizeObserver(() => {
    const { width, height } = box.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    for (const [canvas, context] of [
      [below, low],
      [above, top],
    ] as const) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    const first = view.peek().width === 0;
    const scale = first ? Math.max((width - KEYS) / SECONDS_IN_SIGHT, 26) : view.peek().scale;
    view.value = { ...view.peek(), width, height, scale };
  });
  resize.observe(box);

  let sheet = "";
  const stops = [
    effect(() => {
      void settings.value.theme;
      requestAnimationFrame(recolour);
    }),
    effect(() => {
      void scene.value;
      void view.value;
      dirty = true;
    }),
    effect(() => {
      const { notes } = scene.value;
      const range = pitchRange(notes);
      const now = view.peek();
      const id = current.value?.id ?? "";
      const fresh = id !== sheet;
      sheet = id;
      // While the same piece is looked at the range only grows: keys do not jump.
      const next = fresh
        ? range
        : { low: Math.min(now.low, range.low), high: Math.max(now.high, range.high) };
      if (next.low !== now.low || next.high !== now.high) view.value = { ...now, ...next };
    }),
    effect(() => {
      const wish = goToShown.value;
      if (wish) view.value = showing(view.peek(), wish.seconds, end());
    }),
    effect(() => {
      // Wherever the cursor is put, it is in sight.
      const at = cursor.value;
      following = true;
      if (view.peek().width && !playing.peek()) view.value = showing(view.peek(), at, end());
    }),
    effect(() => {
      const drawn = drawing.value;
      if (drawn && view.peek().width && drawn.notes.length === 0) {
        view.value = showing(view.peek(), drawn.from + 1, end());
      }
    }),
  ];

  let alive = true;
  const paint = (time: number) => {
    if (!alive) return;
    requestAnimationFrame(paint);
    const now = position();
    if (turn) {
      const share = Math.min((time - turn.began) / TURN_MS, 1);
      const eased = 1 - (1 - share) ** 3;
      view.value = { ...view.peek(), from: turn.from + (turn.to - turn.from) * eased };
      if (share === 1) turn = null;
    } else if (playing.peek() && following) {
      const { from, width, scale } = view.peek();
      const x = toX(view.peek(), now);
      const span = (width - KEYS) / scale;
      if (x > width - span * scale * 0.12 || x < KEYS) {
        const to = Math.max(now - span * 0.12, -0.6);
        if (still.matches) view.value = { ...view.peek(), from: to };
        else turn = { from, to, began: time };
      }
    }
    if (dirty) {
      dirty = false;
      paintMusic(low, view.peek(), scene.peek(), colours);
    }
    paintMoment(top, view.peek(), scene.peek(), now, playing.peek(), colours);
  };
  requestAnimationFrame(paint);

  const letGo = listen(above, view, scene, end, () => {
    following = false;
    turn = null;
  });
  return () => {
    alive = false;
    resize.disconnect();
    dark.removeEventListener("change", recolour);
    for (const stop of stops) stop();
    letGo();
  };
}

const WHOLE = { low: null, high: null };

/** A band of keys reaches to the nearer end of the keyboard: what is kept is one range of keys. */
const reaching = (low: number, high: number) =>
  low - LOWEST > HIGHEST - high ? { low, high: HIGHEST } : { low: LOWEST, high };

/** Hear the pointer: click to go, drag to mark (Shift: a band of keys), wheel and touch to move. */
function listen(
  canvas: HTMLCanvasElement,
  view: Live<View>,
  scene: Live<Scene>,
  end: () => number,
  moved: () => void,
): () => void {
  const pointers = new Map<number, PointerEvent>();
  let start: PointerEvent | null = null;
  let mode: "idle" | "press" | "mark" | "scrub" | "pan" = "idle";
  let timer = 0;

  const snap = (x: number) => {
    const { bars, beats } = lines.peek();
    return Math.max(0, snapped(toSeconds(view.peek(), x), settings.peek().snap, bars, beats));
  };
  const mark = (event: PointerEvent) => {
    if (!start) return;
    const [a, b] = [snap(start.offsetX), snap(event.offsetX)].sort((x, y) => x - y);
    const lanes = lanesOf(scene.peek());
    const rows = [start.offsetY, event.offsetY].map((y) => toPitch(view.peek(), y, lanes));
    const band = event.shiftKey || start.shiftKey;
    region.value =
      b - a < 0.05
        ? null
        : { from: a, to: b, ...(band ? reaching(Math.min(...rows), Math.max(...rows)) : WHOLE) };
  };
  const pinch = (event: PointerEvent) => {
    const other = [...pointers.values()].find((known) => known.pointerId !== event.pointerId);
    const old = pointers.get(event.pointerId);
    if (!other || !old) return;
    const apart = (a: PointerEvent) => Math.max(Math.abs(a.offsetX - other.offsetX), 20);
    const middle = (event.offsetX + other.offsetX) / 2;
    view.value = zoomed(view.peek(), apart(event) / apart(old), middle, end());
  };

  const on = {
    pointerdown: (event: PointerEvent) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      if (pointers.size > 1) {
        window.clearTimeout(timer);
        mode = "pan";
        return;
      }
      start = event;
      mode = event.offsetY < RULER ? "scrub" : "press";
      if (mode === "scrub") goTo(snap(event.offsetX));
      else if (event.pointerType === "touch") {
        timer = window.setTimeout(() => {
          if (mode === "press") mode = "mark";
        }, PRESS_MS);
      }
    },
    pointermove: (event: PointerEvent) => {
      if (!start || !pointers.has(event.pointerId)) return;
      if (pointers.size > 1) {
        pinch(event);
        moved();
      } else if (mode === "press" && Math.hypot(event.offsetX - start.offsetX, event.offsetY - start.offsetY) > DRAG_PX) {
        window.clearTimeout(timer);
        mode = event.pointerType === "touch" ? "pan" : "mark";
      }
      const old = pointers.get(event.pointerId)!;
      pointers.set(event.pointerId, event);
      if (pointers.size > 1) return;
      if (mode === "mark") mark(event);
      else if (mode === "scrub") goTo(snap(event.offsetX));
      else if (mode === "pan") {
        moved();
        view.value = scrolled(view.peek(), (old.offsetX - event.offsetX) / view.peek().scale, end());
      }
    },
    pointerup: (event: PointerEvent) => {
      window.clearTimeout(timer);
      pointers.delete(event.pointerId);
      if (mode === "press" && start) {
        region.value = null;
        goTo(Math.max(0, toSeconds(view.peek(), event.offsetX)));
      }
      if (!pointers.size) {
        start = null;
        mode = "idle";
      }
    },
    pointercancel: (event: PointerEvent) => {
      pointers.delete(event.pointerId);
      start = null;
      mode = "idle";
    },
    wheel: (event: WheelEvent) => {
      event.preventDefault();
      moved();
      if (event.ctrlKey) {
        view.value = zoomed(view.peek(), Math.exp(-event.deltaY / 300), event.offsetX, end());
        return;
      }
      const pixels = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY;
      view.value = scrolled(view.peek(), pixels / view.peek().scale, end());
    },
  };
  canvas.addEventListener("pointerdown", on.pointerdown);
  canvas.addEventListener("pointermove", on.pointermove);
  canvas.addEventListener("pointerup", on.pointerup);
  canvas.addEventListener("pointercancel", on.pointercancel);
  canvas.addEventListener("wheel", on.wheel, { passive: false });
  return () => {
    canvas.removeEventListener("pointerdown", on.pointerdown);
    canvas.removeEventListener("pointermove", on.pointermove);
    canvas.removeEventListener("pointerup", on.pointerup);
    canvas.removeEventListener("pointercancel", on.pointercancel);
    canvas.removeEventListener("wheel", on.wheel);
  };
}

/** The handle of the seam: where the music goes on. */
function Seam({ view }: { view: Live<View> }) {
  const handle = useRef<HTMLDivElement>(null);
  const dragged = useSignal<number | null>(null);
  const visible = useComputed(
    () => !chosen.value && !drawing.value && shown.value !== null,
  );
  if (!visible.value) return null;
  const at = dragged.value ?? seam.value;
  const x = toX(view.value, at);
  const hidden = x < KEYS - 2 || x > view.value.width + 2;
  const { bars, beats } = lines.value;

  const down = (event: TargetedPointerEvent<HTMLDivElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    dragged.value = seam.value;
  };
  const move = (event: TargetedPointerEvent<HTMLDivElement>) => {
    if (dragged.value === null) return;
    const left = handle.current!.parentElement!.getBoundingClientRect().left;
    const seconds = toSeconds(view.value, event.clientX - left);
    const snap = event.altKey ? "off" : settings.value.snap;
    dragged.value = Math.max(0, snapped(seconds, snap, bars, beats));
  };
  const up = () => {
    if (dragged.value !== null && dragged.value !== seam.value) moveSeam(dragged.value);
    dragged.value = null;
  };
  const key = (event: TargetedKeyboardEvent<HTMLDivElement>) => {
    const direction = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!direction) return;
    event.preventDefault();
    event.stopPropagation();
    const { snap } = settings.value;
    if (snap === "off") moveSeam(seam.value + direction * (event.shiftKey ? 1 : 0.1));
    else moveSeam(stepped(snap === "bar" || event.shiftKey ? bars : beats, seam.value, direction));
    goToShown.value = { seconds: seam.value };
  };
  return (
    <div
      ref={handle}
      class="seam"
      data-own
      data-hidden={hidden}
      style={{ transform: `translateX(${Math.min(Math.max(x, KEYS), view.value.width)}px)` }}
      role="slider"
      tabIndex={0}
      aria-label="Seam: where the music goes on"
      aria-valuemin={0}
      aria-valuemax={Math.ceil(shown.value?.music.duration ?? 0)}
      aria-valuenow={Math.round(at * 10) / 10}
      aria-valuetext={spoken(at, bars, beats)}
      title={`The music goes on here (${clock(at)}). Drag it; Alt drags freely.`}
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={up}
      onPointerCancel={up}
      onKeyDown={key}
      onFocus={() => {
        goToShown.value = { seconds: seam.value };
      }}
    >
      <span class="seam-flag">go on</span>
    </div>
  );
}
