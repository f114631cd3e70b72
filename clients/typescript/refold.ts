/**
 * A client of `refold serve`: append to a log of events, read it, follow it.
 *
 * One file without dependencies, for Node 20.3 or newer, Deno, Bun and browsers.
 *
 * Numbers are exact. A number that a JavaScript `number` would change comes as a `bigint` where it
 * is whole and else as an {@link Exact}, and both may be sent; a `number` that cannot be what was
 * meant (NaN, 2 ** 53 or more) is refused.
 */

/** A JSON value whose numbers are exact. */
export type Json = null | boolean | number | bigint | string | Exact | Json[] | { [key: string]: Json };

/** A number with more digits than a `number` has, as the text that it is. */
export class Exact {
  constructor(readonly text: string) {
    if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text)) throw new TypeError(`${text} is no number of JSON`);
  }
  toString(): string {
    return this.text;
  }
}

/** An event to append; `data` is any value that JSON has, or a value of an interface. */
export interface NewEvent {
  type: string;
  data?: unknown;
  /** When it happened, RFC 3339. */
  occurredAt?: string | Date | undefined;
  metadata?: Record<string, unknown> | undefined;
}

/** An event of the log. */
export interface StoredEvent<D = Json> {
  id: string;
  stream: string;
  version: number;
  position: number;
  type: string;
  schema: number;
  occurredAt: string;
  recordedAt: string;
  data: D;
  metadata: Record<string, Json>;
}

/** Where an append stands, durable; `duplicate`: it stood there before, under the same `key`. */
export interface Appended {
  stream: string;
  firstVersion: number;
  lastVersion: number;
  firstPosition: number;
  lastPosition: number;
  recordedAt: string;
  duplicate: boolean;
  key: string;
}

export interface Limits {
  /** Ends the call: its promise is rejected with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface AppendOptions extends Limits {
  /** What the stream must be; a number is its last version. */
  expected?: "any" | "no_stream" | "stream_exists" | number | undefined;
  /** Makes the append happen once, for ever; by default a new random one for each call. */
  key?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
  tags?: string[] | undefined;
  /** Refused where an event that matches any of `unless` has a position over `after`. */
  conditions?: { unless: { types?: string[]; tags?: string[] }[]; after?: number | undefined } | undefined;
}

export interface LogOptions extends Limits {
  /** Only events after this position. */
  after?: number | undefined;
  categories?: string[] | undefined;
  types?: string[] | undefined;
}

export interface StateOptions extends Limits {
  /** `conversation` by default, or `portfolio`. */
  fold?: string | undefined;
  version?: number | undefined;
  position?: number | undefined;
  /** What was known by then: RFC 3339, or an age such as 30m. */
  recordedUntil?: string | undefined;
  /** What had happened by then. */
  occurredUntil?: string | undefined;
}

/** A state, and the last event that is in it. */
export interface Folded {
  stream: string;
  fold: string;
  version: number;
  position: number;
  state: { [key: string]: Json };
}

/** What can be done: nothing, read and decide again, try later, or send again with the same key. */
export type Retry = "never" | "redecide" | "later" | "check";

/**
 * Why a call failed. `code` is for programs, as `conflict` or `key_reused`; `facts` is what it is
 * about. `status` is 0 where no answer came: then `code` is `unreachable`, and of an append it is not
 * known whether it is stored: send it again with the `key` in `facts`.
 */
export class RefoldError extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly retry: Retry,
    readonly status: number,
    readonly facts: Record<string, Json> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = "RefoldError";
  }
}

export interface Options {
  /** A token, where the server asks for one. */
  token?: string | undefined;
  /** An attempt without an answer is given up after so long; 30 s by default. */
  timeoutMs?: number | undefined;
  /** What may be tried again is, for so long; a minute by default, 0 never. */
  retryMs?: number | undefined;
  /** A subscription that hears nothing for so long reconnects; 45 s by default, the server says something each 15. */
  silenceMs?: number | undefined;
  /** In place of the global one. */
  fetch?: typeof globalThis.fetch | undefined;
}

type Query = Record<string, string | number | string[] | undefined>;

const FIRST_PAUSE_MS = 100;
const PAUSE_MAX_MS = 5_000;

export class Refold {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #timeoutMs: number;
  readonly #retryMs: number;
  readonly #silenceMs: number;
  readonly #fetch: typeof fetch;

  constructor(url: string, options: Options = {}) {
    if (typeof url !== "string" || /^[\w.-]+:\d/.test(url)) {
      throw new TypeError(`${url} is no address of a server: give one such as http://127.0.0.1:8713`);
    }
    this.#url = url.replace(/\/+$/, "");
    this.#headers = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` };
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#retryMs = options.retryMs ?? 60_000;
    this.#silenceMs = options.silenceMs ?? 45_000;
    this.#fetch = options.fetch ?? ((...given) => fetch(...given));
  }

  /**
   * Add events to the end of a stream, all or none; durable when it resolves.
   *
   * It is sent again under its key where no answer came or the server was busy, and is stored once.
   */
  async append(stream: string, events: NewEvent[], options: AppendOptions = {}): Promise<Appended> {
    const { signal, key = crypto.randomUUID(), ...given } = options;
    const made = events.map(({ occurredAt, ...event }) => ({
      ...event,
      ...(occurredAt === undefined ? {} : { occurred_at: occurredAt }),
    }));
    const body = stringify({ ...given, key, events: made });
    try {
      const said = await this.#asked("POST", `${pathOf(stream)}/events`, {}, { signal, body });
      return { ...(camelled(said) as unknown as Appended), key };
    } catch (error) {
      if (error instanceof RefoldError) error.facts.key ??= key;
      throw error;
    }
  }

  /** The events of a stream in order, read page by page as they are asked for. */
  async *read<D = Json>(
    stream: string,
    options: { from?: number | undefined; pageSize?: number | undefined } & Limits = {},
  ): AsyncGenerator<StoredEvent<D>, void, void> {
    const { from = 0, pageSize, signal } = options;
    yield* this.#pages<D>(`${pathOf(stream)}/events`, "from", from, { limit: pageSize }, signal);
  }

  /** The events of the whole log in the order of their positions, those that are there. */
  async *readAll<D = Json>(
    options: LogOptions & { pageSize?: number | undefined } = {},
  ): AsyncGenerator<StoredEvent<D>, void, void> {
    const { after = 0, pageSize, categories, types, signal } = options;
    const query = { limit: pageSize, category: categories, type: types };
    yield* this.#pages<D>("/v1/events", "after", after, query, signal);
  }

  /** The state of a stream, now or then, by one of the server's folds. */
  async state(stream: string, options: StateOptions = {}): Promise<Folded> {
    const { signal, fold = "conversation", version, position } = options;
    const { recordedUntil: recorded_until, occurredUntil: occurred_until } = options;
    const query = { fold, version, position, recorded_until, occurred_until };
    return (await this.#asked("GET", `${pathOf(stream)}/state`, query, { signal })) as unknown as Folded;
  }

  /**
   * Every event after a position, those that are there and those to come, each once, without end.
   *
   * A connection that breaks is made again, from the last event that was given. To go on another
   * day give the `position` of that as `after`.
   */
  async *subscribe<D = Json>(options: LogOptions = {}): AsyncGenerator<StoredEvent<D>, void, void> {
    const { categories: category, types: type, signal } = options;
    let after = options.after ?? 0;
    const pauses = new Pauses(Infinity);
    for (;;) {
      try {
        for await (const frame of this.#frames({ after, category, type }, signal)) {
          if (frame.event === "problem") throw problemOf(parse(frame.data), 0);
          if (frame.data !== "") {
            const event = camelled(parse(frame.data)) as unknown as StoredEvent<D>;
            if (event.position <= after) continue;
            after = event.position;
            yield event;
          } else if (frame.id !== undefined && frame.id > after) {
            after = frame.id;
          }
          pauses.reset();
        }
        await pauses.wait(undefined, signal);
      } catch (error) {
        await pauses.wait(failed(error, signal), signal);
      }
    }
  }

  async *#pages<D>(
    path: string,
    place: string,
    from: number,
    query: Query,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<StoredEvent<D>, void, void> {
    for (;;) {
      const page = await this.#asked("GET", path, { ...query, [place]: from }, { signal });
      for (const event of page.events as { [key: string]: Json }[]) {
        yield camelled(event) as unknown as StoredEvent<D>;
      }
      if (page.end === true) return;
      from = page.next as number;
    }
  }

  /** The answer to a request, sent again for as long as that may help. */
  async #asked(
    method: string,
    path: string,
    query: Query,
    given: { signal?: AbortSignal | undefined; body?: string },
  ): Promise<{ [key: string]: Json }> {
    const pauses = new Pauses(this.#retryMs);
    for (;;) {
      const timeout = AbortSignal.timeout(this.#timeoutMs);
      try {
        const answer = await this.#sent(method, path, query, { ...given, timeout });
        return parse(await answer.text()) as { [key: string]: Json };
      } catch (error) {
        await pauses.wait(failed(error, given.signal), given.signal);
      }
    }
  }

  /** One attempt: an answer that is none of an error. */
  async #sent(
    method: string,
    path: string,
    query: Query,
    given: { signal?: AbortSignal | undefined; timeout: AbortSignal; body?: string },
  ): Promise<Response> {
    const { signal, timeout, body } = given;
    const said = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [value].flat().map((one) => [name, String(one)]),
    );
    const search = new URLSearchParams(said).toString();
    const answer = await this.#fetch(`${this.#url}${path}${search && `?${search}`}`, {
      method,
      headers: { ...this.#headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      redirect: "error",
      ...(body === undefined ? {} : { body }),
    });
    if (answer.ok) return answer;
    const text = await answer.text();
    const isProblem = answer.headers.get("content-type")?.startsWith("application/problem+json");
    const told = isProblem ? parse(text) : { detail: text.slice(0, 500) || answer.statusText };
    throw problemOf(told, answer.status, answer.headers.get("retry-after"));
  }

  /** The frames of one connection: https://html.spec.whatwg.org/multipage/server-sent-events.html */
  async *#frames(query: Query, signal: AbortSignal | undefined): AsyncGenerator<Frame, void, void> {
    const silence = new AbortController();
    const given_up = () => silence.abort(new DOMException("silent for too long", "TimeoutError"));
    let timer = setTimeout(given_up, this.#silenceMs);
    try {
      const answer = await this.#sent("GET", "/v1/subscribe", query, { signal, timeout: silence.signal });
      const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return; // What is left is a frame that was cut off.
        clearTimeout(timer);
        timer = setTimeout(given_up, this.#silenceMs);
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop()!;
        yield* blocks.map(frameOf);
      }
    } finally {
      clearTimeout(timer);
      silence.abort(); // Also where whoever reads stops: the connection is let go.
    }
  }
}

interface Frame {
  event: string;
  id: number | undefined;
  data: string;
}

function frameOf(block: string): Frame {
  const fields = new Map<string, string>();
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line)!;
    if (name) fields.set(name, name === "data" && fields.has(name) ? `${fields.get(name)}\n${value}` : value!);
  }
  const id = fields.get("id");
  return { event: fields.get("event") ?? "", id: id === undefined ? id : Number(id), data: fields.get("data") ?? "" };
}

/** How long is waited between attempts: twice as long each time, or as the server says. */
class Pauses {
  #count = 0;
  #until: number;
  constructor(readonly ms: number) {
    this.#until = Date.now() + ms;
  }
  reset(): void {
    this.#count = 0;
    this.#until = Date.now() + this.ms;
  }
  /** Resolve when it is time to try again; throw the error where trying again is no use. */
  async wait(error: RefoldError | undefined, signal: AbortSignal | undefined): Promise<void> {
    const most = Math.min(PAUSE_MAX_MS, FIRST_PAUSE_MS * 2 ** this.#count++);
    const asked = Number(error?.facts.retry_after ?? 0) * 1000;
    const ms = asked || most * (0.5 + Math.random() / 2);
    const isFor = error === undefined || error.retry === "later" || error.retry === "check";
    if (error && (!isFor || Date.now() + ms > this.#until)) throw error;
    await new Promise<void>((resolve, reject) => {
      const stop = () => (clearTimeout(timer), reject(signal!.reason));
      const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), ms);
      if (signal?.aborted) stop();
      else signal?.addEventListener("abort", stop, { once: true });
    });
  }
}

function problemOf(told: Json, status: number, retryAfter: string | null = null): RefoldError {
  const said = told as { [key: string]: Json };
  // A proxy that answers for the server knows none of its words.
  const isBusy = [429, 502, 503, 504].includes(status);
  const facts = { ...(said.facts as object), ...(retryAfter === null ? {} : { retry_after: Number(retryAfter) || 0 }) };
  const code = (said.code as string) ?? `http_${status}`;
  const retry = (said.retry as Retry) ?? (isBusy ? "later" : "never");
  return new RefoldError((said.detail as string) ?? code, code, retry, status, facts);
}

/** What went wrong, as our own error; what the caller's signal ended is thrown as that says. */
function failed(error: unknown, signal: AbortSignal | undefined): RefoldError {
  if (signal?.aborted) throw signal.reason;
  if (error instanceof RefoldError) return error;
  if (error instanceof SyntaxError || (error instanceof TypeError && error.message.includes("URL"))) throw error;
  const why = error instanceof Error ? [error.message, (error.cause as Error)?.message].filter(Boolean).join(": ") : error;
  return new RefoldError(`no answer: ${why}`, "unreachable", "check", 0, {}, { cause: error });
}

function pathOf(stream: string): string {
  // An address has no way to say these, escaped or not: it would be that of the whole log, or of nothing.
  if (stream === "." || stream === "..") throw new TypeError(`no address can name the stream ${stream}`);
  return `/v1/streams/${encodeURIComponent(stream)}`;
}

/** The fields of an answer by the names of this language; what is in `data` stays as it is. */
function camelled(said: { [key: string]: Json } | Json): { [key: string]: Json } {
  return Object.fromEntries(
    Object.entries(said as object).map(([name, value]) => [name.replace(/_(.)/g, (_, c) => c.toUpperCase()), value]),
  );
}

/** JSON text of a value; TypeError for what JSON would say otherwise than it is. */
export function stringify(value: unknown): string {
  if (value instanceof Exact) return value.text;
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") {
    const isWhat = Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
    if (!isWhat) throw new TypeError(`${value} is no number that JSON keeps: give a bigint or an Exact`);
    return Object.is(value, -0) ? "-0.0" : String(value);
  }
  if (value === null || typeof value !== "object") {
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError(`a ${typeof value} is no value of JSON`);
    return text;
  }
  if (value instanceof Date && Number.isNaN(value.getTime())) throw new TypeError("an invalid Date is no time");
  if ("toJSON" in value && typeof value.toJSON === "function") return stringify(value.toJSON());
  if (Array.isArray(value)) return `[${value.map(stringify).join(",")}]`;
  if (isStrange(value)) throw new TypeError(`a ${value.constructor.name} is no value of JSON`);
  const fields = Object.entries(value).filter(([, one]) => one !== undefined);
  return `{${fields.map(([name, one]) => `${JSON.stringify(name)}:${stringify(one)}`).join(",")}}`;
}

/** Objects whose content is not in their fields, which would become `{}`. */
function isStrange(value: object): boolean {
  return value instanceof Map || value instanceof Set || value instanceof Promise || ArrayBuffer.isView(value);
}

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/gs;

/** A value of JSON text, each number as exact as it is written. */
export function parse(text: string): Json {
  const mark = `${Math.random()}#`; // No text of others begins with what they cannot know.
  let isExact = true;
  const marked = text.replace(TOKEN, (token) => {
    if (token[0] === '"' || digitsOf(token) === digitsOf(String(Number(token)))) return token;
    isExact = false;
    return `"${mark}${token}"`;
  });
  if (isExact) return JSON.parse(text);
  return JSON.parse(marked, (_, value) => {
    if (typeof value !== "string" || !value.startsWith(mark)) return value;
    const number = value.slice(mark.length);
    return /^-?\d+$/.test(number) ? BigInt(number) : new Exact(number);
  });
}

/** A number's digits and where its point is: the same for 1.50, 15e-1 and 1.5. */
function digitsOf(number: string): string {
  const [, sign, whole, part = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE](.+))?$/.exec(number) ?? [];
  if (whole === undefined) return number;
  const digits = (whole + part).replace(/^0+/, "");
  const kept = digits.replace(/0+$/, "");
  if (kept === "") return "0";
  return `${sign}${kept}e${Number(exponent) - part.length + digits.length - kept.length}`;
}
