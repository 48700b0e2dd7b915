import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { request as secureRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCoordinator } from "@scoutsync/coordinator";
import { createLogger } from "@scoutsync/runtime";
import { boundOf } from "@scoutsync/testkit";
import { createFleet } from "@scoutsync/trust";
import { expectHolds } from "./budget.ts";

interface Ask {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string;
}

let folder: string;
let plain: Awaited<ReturnType<typeof startCoordinator>>;
let guarded: Awaited<ReturnType<typeof startCoordinator>>;
let routes: { method: string; path: string }[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "scoutsync-fuzz-http-"));
  const start = (name: string) =>
    startCoordinator({
      listen: "127.0.0.1:0",
      http: "127.0.0.1:0",
      // Nobody is there: a coordinator answers without its queue.
      redis: "redis://127.0.0.1:1",
      dataDirectory: join(folder, name),
      logger: createLogger("fuzz", "silent"),
    });
  await createFleet(join(folder, "guarded"), { role: "coordinator", id: "c1", name: "c1" });
  plain = await start("plain");
  guarded = await start("guarded");
  const { body } = await send(false, { method: "GET", path: "/api/openapi.json", headers: {}, body: "" });
  const { paths } = JSON.parse(body) as { paths: Record<string, object> };
  routes = Object.entries(paths)
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })))
    // Waits for its queue by design.
    .filter(({ path }) => path !== "/api/events");
});
afterAll(async () => {
  await Promise.all([plain.stop(), guarded.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

function send(secure: boolean, { method, path, headers, body }: Ask): Promise<{ status: number; body: string }> {
  const [host, port] = ((secure ? guarded : plain).ready.http ?? "").split(":");
  const options = { host, port, method, path, headers: { ...headers, "content-length": String(Buffer.byteLength(body)) } };
  return new Promise((resolve, reject) => {
    const made = secure ? secureRequest({ ...options, rejectUnauthorized: false }) : request(options);
    made.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => (text += piece));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    made.setTimeout(boundOf(15_000), () => made.destroy(new Error(`no answer to ${method} ${path} ${body}`)));
    made.on("error", reject);
    made.end(body);
  });
}

const word = fc.oneof(
  fc.constantFrom(
    "1",
    "0",
    "-1",
    "9".repeat(30),
    "../../etc/passwd",
    "%2e%2e%2f",
    "'; DROP TABLE users; --",
    "{{7*7}}",
    "\u0000",
    "true",
    "null",
    "NaN",
  ),
  fc.string({ maxLength: 40, unit: "binary" }),
);
const names = [
  "name",
  "address",
  "keep",
  "set",
  "decision",
  "dry_run",
  "page",
  "limit",
  "state",
  "wait",
  "server_id",
  "database",
  "since",
  "kind",
];
const json: fc.Arbitrary<unknown> = fc.oneof(
  fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string({ maxLength: 10 })), fc.oneof(word, fc.jsonValue({ maxDepth: 3 })), {
    maxKeys: 5,
  }),
  fc.jsonValue({ maxDepth: 4 }),
);
const body = fc.oneof(
  { weight: 6, arbitrary: json.map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: fc.string({ maxLength: 300 }) },
);

function asks(): fc.Arbitrary<Ask> {
  const query = fc.dictionary(fc.constantFrom(...names), word, { maxKeys: 3 }).map((pairs) => new URLSearchParams(pairs).toString());
  return fc
    .tuple(fc.constantFrom(...routes), fc.array(word, { minLength: 3, maxLength: 3 }), query, body)
    .map(([route, words, search, text]) => {
      let at = 0;
      const filled = route.path.replaceAll(/\{\w+\}/g, () => encodeURIComponent((words[at++ % 3] ?? "x").toWellFormed()) || "x");
      const path = search === "" ? filled : `${filled}?${search}`;
      return { method: route.method, path, headers: { "content-type": "application/json" }, body: route.method === "GET" ? "" : text };
    });
}

test("no body, path or query has a route fail by a defect", async () => {
  await expectHolds("HTTP routes", asks(), async (ask) => {
    const answer = await send(false, ask);
    if (answer.status === 500) throw new Error(`${JSON.stringify(ask)}: ${answer.body}`);
  });
  expect((await send(false, { method: "GET", path: "/healthz", headers: {}, body: "" })).status).toBe(200);
});

test("no header or form gets past the gate", async () => {
  const printable = fc.string({ maxLength: 80, unit: "grapheme-ascii" });
  const strange = fc.record(
    {
      authorization: fc.oneof(
        printable,
        printable.map((text) => `Bearer ${text}`),
        fc.constant("Bearer scout_key_"),
      ),
      cookie: fc.oneof(
        printable,
        printable.map((text) => `__Host-scoutsync=${text}`),
      ),
      "x-csrf-token": printable,
      origin: fc.oneof(printable, fc.constant("null")),
    },
    { requiredKeys: [] },
  );
  await expectHolds("the gate", fc.tuple(asks(), strange), async ([ask, headers]) => {
    const { status } = await send(true, { ...ask, headers: { ...ask.headers, ...headers } });
    if (status !== 401) throw new Error(`${JSON.stringify({ ...ask, headers })}: ${status}`);
  });
  await expectHolds("logins", body, async (text) => {
    const ask = { method: "POST", path: "/login", headers: { "content-type": "application/json" }, body: text };
    const { status } = await send(true, ask);
    if (![400, 401, 429].includes(status)) throw new Error(`${text}: ${status}`);
  });
});
