/** The engine behind HTTP: the server that sent the page. */

import { toBase64 } from "./base64";
import {
  type AudioFormat,
  type ContinueRequest,
  type DuetLink,
  type DuetListener,
  type Engine,
  EngineError,
  type FillRequest,
  type Job,
  type Labelled,
  type MapPoint,
  type Match,
  type MidiFile,
  type Problem,
  type Progress,
  type Read,
  type RenderRequest,
  type Scored,
  type StreamedNote,
  type TakeListener,
  type TakeMade,
  isCancelled,
} from "./engine";
import { type NotesTable, type PedalTable, notesOf, pedalOf } from "../logic/music";
import type { FromServer } from "../logic/duet";
import { serverEvents } from "./sse";

/** What the engine tells and asks of the page around it. */
export interface Surroundings {
  /** Told when the server stops to answer, and when it answers again. */
  link(state: "up" | "lost" | "busy"): void;
  /** Return the token that the server wants; asked again where one was wrong. */
  token(refused: boolean): Promise<string | null>;
}

/** The server did not answer, or stopped in the middle. */
class LostConnection extends Error {}

class Busy extends Error {
  constructor(readonly seconds: number) {
    super("busy");
  }
}

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 4000;
const VARIATIONS = 4;
const OF = 16;

const TYPES: Record<AudioFormat, string> = {
  wav: "audio/wav",
  mp3: "audio/mpeg",
  flac: "audio/flac",
};

interface ReadReply {
  title?: string;
  duration_seconds: number;
  notes: NotesTable;
  pedal?: PedalTable;
  bars_seconds: number[];
  beats_seconds: number[];
  tempo: [number, number][];
  key: { name: string; confidence: number } | null;
  is_score: boolean;
  last_release_seconds: number;
  notices?: (string | { what?: string })[];
}

export class HttpEngine implements Engine {
  constructor(
    private readonly around: Surroundings,
    private readonly base = ".",
  ) {}

  private token: string | null = null;

  examples = () => this.json<{ name: string; title: string }[]>("GET", "/v1/examples");

  opened = () => this.json<MidiFile | null>("GET", "/v1/opened");

  models = async () => {
    const reply = await this.json<{ models: { name: string }[] } | { name: string }[]>(
      "GET",
      "/v1/models",
    );
    return Array.isArray(reply) ? reply : reply.models;
  };

  example = async (name: string) =>
    this.file(`/v1/examples/${encodeURIComponent(name)}`, `${name}.mid`);

  read = async (file: MidiFile, signal?: AbortSignal): Promise<Read> => {
    const reply = await this.json<ReadReply>("POST", "/v1/read", { file }, signal);
    return {
      title: reply.title ?? "",
      notices: (reply.notices ?? []).map((notice) =>
        typeof notice === "string" ? notice : (notice.what ?? ""),
      ),
      music: {
        notes: notesOf({ ...reply.notes, new: undefined }),
        pedal: pedalOf(reply.pedal),
        bars: reply.bars_seconds,
        beats: reply.beats_seconds,
        tempo: reply.tempo,
        key: reply.key,
        isScore: reply.is_score,
        duration: reply.duration_seconds,
        lastRelease: reply.last_release_seconds,
      },
    };
  };

  duet = (on: DuetListener): DuetLink => {
    const address = new URL(`${this.base}/v1/duet`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.onopen = () => on.open();
    socket.onmessage = ({ data }) => on.message(JSON.parse(data as string) as FromServer);
    socket.onclose = ({ reason }) => on.closed(reason);
    return {
      send: (message) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
      },
      close: () => socket.close(),
    };
  };

  continue = (request: ContinueRequest, on: TakeListener, signal: AbortSignal) =>
    this.takes("/v1/generate", { variations: VARIATIONS, of: OF, ...request }, on, signal);

  fill = (request: FillRequest, on: TakeListener, signal: AbortSignal) =>
    this.takes("/v1/fill", { ...request, of: OF }, on, signal);

  render = (request: RenderRequest, on: TakeListener, signal: AbortSignal) =>
    this.takes("/v1/render", request, on, signal);

  score = (file: MidiFile, signal?: AbortSignal) =>
    this.json<Scored>("POST", "/v1/score", { file }, signal);

  classify = async (file: MidiFile, signal?: AbortSignal) =>
    (await this.json<{ labels: Labelled[] }>("POST", "/v1/classify", { file }, signal)).labels;

  indexes = () => this.json<{ name: string; pieces: number }[]>("GET", "/v1/indexes");

  map = async (index: string, signal?: AbortSignal) => {
    const path = `/v1/indexes/${encodeURIComponent(index)}/map`;
    return (await this.json<{ points: MapPoint[] }>("GET", path, undefined, signal)).points;
  };

  search = async (query: object, signal?: AbortSignal) => {
    const asked = { top: 12, ...query };
    return (await this.json<{ matches: Match[] }>("POST", "/v1/search", asked, signal)).matches;
  };

  piece = (index: string, id: string) =>
    this.file(
      `/v1/indexes/${encodeURIComponent(index)}/pieces/${encodeURIComponent(id)}`,
      /\.midi?$/i.test(id) ? (id.split("/").at(-1) ?? id) : `${id}.mid`,
    );

  synth = (file: MidiFile, format: AudioFormat, signal?: AbortSignal) =>
    this.blob("/v1/synth", { file, format }, TYPES[format], signal);

  postcard = (file: MidiFile, title: string, seed: number | null, signal?: AbortSignal) =>
    this.blob("/v1/postcard", { file, title, seed }, "text/html", signal);

  train = async (files: File[], signal?: AbortSignal) => {
    const form = new FormData();
    for (const file of files) form.append("file", file, file.name);
    const reply = await this.persist(
      () => this.ask("/v1/train", { method: "POST", body: form, signal }),
      signal,
    );
    return ((await reply.json()) as { id: string }).id;
  };

  job = (id: string) => this.json<Job>("GET", `/v1/jobs/${id}`);
  pause = async (id: string) => void (await this.json("POST", `/v1/jobs/${id}/pause`, {}));
  resume = async (id: string) => void (await this.json("POST", `/v1/jobs/${id}/resume`, {}));
  cancel = async (id: string) => {
    await this.persist(() => this.ask(`/v1/jobs/${id}`, { method: "DELETE" }));
  };

  private async json<Reply>(
    method: string,
    path: string,
    body?: object,
    signal?: AbortSignal,
  ): Promise<Reply> {
    return this.persist(async () => {
      const reply = await this.ask(path, request(method, body, "application/json", signal));
      return (await online(reply.json())) as Reply;
    }, signal);
  }

  private blob(path: string, body: object, accept: string, signal?: AbortSignal): Promise<Blob> {
    return this.persist(async () => {
      const reply = await this.ask(path, request("POST", body, accept, signal));
      return online(reply.blob());
    }, signal);
  }

  private file(path: string, name: string): Promise<MidiFile> {
    return this.persist(async () => {
      const reply = await this.ask(path, request("GET", undefined, "audio/midi"));
      return { name, data: toBase64(new Uint8Array(await online(reply.arrayBuffer()))) };
    });
  }

  private takes(path: string, body: object, on: TakeListener, signal: AbortSignal): Promise<void> {
    return this.persist(async () => {
      on.begin();
      const reply = await this.ask(path, request("POST", body, "text/event-stream", signal));
      const type = reply.headers.get("Content-Type") ?? "";
      if (type.startsWith("application/json")) {
        const { takes } = (await online(reply.json())) as { takes: TakeMade[] };
        for (const take of takes) on.take(take);
        return;
      }
      if (!reply.body) throw new LostConnection();
      const events = serverEvents(reply.body);
      for (;;) {
        const { done, value } = await online(events.next());
        if (done) break;
        const { event, data } = value;
        const told: unknown = JSON.parse(data);
        if (event === "start") {
          const { seam_seconds, seed } = told as { seam_seconds?: number; seed?: number };
          on.started(seam_seconds, seed);
        } else if (event === "note") on.note(told as StreamedNote);
        else if (event === "progress") on.progress(told as Progress);
        else if (event === "take") on.take(told as TakeMade);
        else if (event === "error") throw new EngineError(told as Problem);
        else if (event === "end") return;
      }
      throw new LostConnection(); // it stopped without an end
    }, signal);
  }

  /** Do something until the server answers: a lost connection is waited for and asked again. */
  private async persist<Result>(what: () => Promise<Result>, signal?: AbortSignal): Promise<Result> {
    let wait = FIRST_WAIT_MS;
    for (;;) {
      try {
        const result = await what();
        this.around.link("up");
        return result;
      } catch (error) {
        if (signal?.aborted || isCancelled(error)) {
          throw new DOMException("cancelled", "AbortError");
        }
        if (error instanceof Busy) {
          this.around.link("busy");
          await pause(error.seconds * 1000, signal);
        } else if (error instanceof LostConnection) {
          this.around.link("lost");
          await pause(wait, signal);
          wait = Math.min(wait * 1.6, LONGEST_WAIT_MS);
        } else {
          this.around.link("up");
          throw error;
        }
      }
    }
  }

  private async ask(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.token) headers.set("Authorization", `Bearer ${this.token}`);
    const reply = await online(fetch(this.base + path, { ...init, headers }));
    if (reply.ok) return reply;
    if (reply.status === 401) {
      this.token = await this.around.token(this.token !== null);
      if (this.token) return this.ask(path, init);
    }
    if (reply.status === 429) throw new Busy(Number(reply.headers.get("Retry-After")) || 1);
    if (reply.status === 502 || reply.status === 504) throw new LostConnection();
    throw new EngineError(await problemOf(reply));
  }
}

/** fetch and the reading of a body fail with a TypeError where the network does. */
async function online<Result>(promise: Promise<Result>): Promise<Result> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof TypeError) throw new LostConnection();
    throw error;
  }
}

function request(
  method: string,
  body: object | undefined,
  accept: string,
  signal?: AbortSignal,
): RequestInit {
  const headers: Record<string, string> = { Accept: accept };
  if (body) headers["Content-Type"] = "application/json";
  return { method, headers, body: body && JSON.stringify(body), signal };
}

async function problemOf(reply: Response): Promise<Problem> {
  const status = reply.status;
  try {
    return { status, ...((await reply.json()) as Problem) };
  } catch {
    return { status, title: `The server answered ${status} ${reply.statusText}` };
  }
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancelled = () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", cancelled);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", cancelled, { once: true });
  });
}
