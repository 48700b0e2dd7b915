import { redraw } from "./redraw.ts";

/** Whether the coordinator has refused to answer before somebody logs in. */
export const login = { needed: false };

/** An answer that was not what was asked for: what happened, and what to do about it. */
export class Problem extends Error {
  override name = "Problem";
  readonly action: string;
  readonly status: number;

  constructor(message: string, action: string, status: number) {
    super(message);
    this.action = action;
    this.status = status;
  }
}

/** Asks the coordinator. Throws Problem. */
export async function api<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const token = csrfToken();
  if (method !== "GET" && token !== "") headers["x-csrf-token"] = token;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new Problem("The coordinator does not answer.", "Check that it runs and that this device reaches it.", 0);
  }
  if (response.status === 401) {
    login.needed = true;
    redraw();
  }
  const text = await response.text();
  const answer = parsed(text);
  if (!response.ok) throw problemOf(response.status, answer);
  return answer as T;
}

/** The token of a logged-in session, which has to be sent with what changes something; empty where no login is asked for. */
export function csrfToken(): string {
  const cookie = document.cookie.split("; ").find((one) => /^(__Host-)?scoutsync_csrf=/.test(one));
  return cookie === undefined ? "" : decodeURIComponent(cookie.slice(cookie.indexOf("=") + 1));
}

function parsed(text: string): unknown {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

function problemOf(status: number, answer: unknown): Problem {
  const { detail, error, title, action = "" } = (answer ?? {}) as Partial<Record<string, string>>;
  const message = detail ?? error ?? title ?? `The coordinator answered with ${status}.`;
  // What a node said may hold the advice already.
  return new Problem(action !== "" && message.endsWith(action) ? message.slice(0, -action.length).trimEnd() : message, action, status);
}

/** Something that a page shows and that is asked for again when the fleet moves. */
export class Resource<T> {
  value: T | null = null;
  problem: Problem | null = null;
  #path = "";
  #asking: AbortController | null = null;

  /** Loads `path` unless it is what is shown already. */
  show(path: string): this {
    if (path === this.#path) return this;
    this.#path = path;
    this.value = null;
    this.problem = null;
    void this.refresh();
    return this;
  }

  /** Asks again; what was there stays until the answer has come. */
  async refresh(): Promise<void> {
    if (this.#path === "") return;
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const value = await api<T>("GET", this.#path, undefined, asking.signal);
      if (asking.signal.aborted) return;
      this.value = value;
      this.problem = null;
    } catch (error) {
      if (asking.signal.aborted) return;
      this.problem = error instanceof Problem ? error : new Problem(String(error), "", 0);
    }
    redraw();
  }

  /** Forgets what it shows, so that the next `show` asks anew. */
  leave(): void {
    this.#asking?.abort();
    this.#path = "";
  }
}
