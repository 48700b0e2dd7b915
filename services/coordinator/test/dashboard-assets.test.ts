import { fastify, type FastifyInstance } from "fastify";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readAssets, type Asset } from "../src/dashboard/assets.ts";
import { registerDashboard } from "../src/dashboard/index.ts";

let assets: Map<string, Asset>;
let server: FastifyInstance;
beforeAll(async () => {
  assets = await readAssets();
  server = fastify();
  await registerDashboard(server);
});
afterAll(() => server.close());

const scripts = () => [...assets].filter(([path]) => path.startsWith("/dashboard/") && /\.(ts|js)$/.test(path));

test("every module that the page loads, directly or by another one, is served", () => {
  const page = assets.get("/")?.body ?? "";
  const loaded = [...page.matchAll(/(?:src|href)="(dashboard\/[^"]+)"/g)].map(([, path]) => `/${path}`);
  expect(loaded.length).toBeGreaterThan(4);
  const wanted = new Set(loaded);
  for (const path of wanted) {
    const text = assets.get(path)?.body ?? "";
    for (const [, name = ""] of text.matchAll(/\b(?:from|import)\s*"(\.[^"]+)"/g)) wanted.add(new URL(name, `http://node${path}`).pathname);
  }
  expect([...wanted].filter((path) => !assets.has(path))).toEqual([]);
  // Nothing is served that nothing loads (but the file that holds types alone), and nothing comes from anywhere else.
  const served = scripts().map(([path]) => path);
  expect(served.filter((path) => !wanted.has(path))).toEqual(["/dashboard/model.ts"]);
  expect([...wanted].filter((path) => !path.startsWith("/dashboard/"))).toEqual([]);
});

test("no code or style stands in the page itself, and nothing turns text into markup", () => {
  const page = assets.get("/")?.body ?? "";
  expect(page).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/);
  const ours = scripts().filter(([path]) => !path.includes("/lit-html/"));
  expect(ours.length).toBeGreaterThan(20);
  const risky = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|unsafeHTML|\beval\(|new Function|\sstyle=/;
  expect(ours.filter(([, { body }]) => risky.test(body)).map(([path]) => path)).toEqual([]);
});

test("the page is sent with a policy that lets nothing in, and again only when it changed", async () => {
  const first = await server.inject("/");
  expect(first.statusCode).toBe(200);
  expect(first.headers["content-type"]).toContain("text/html");
  const policy = String(first.headers["content-security-policy"]);
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("require-trusted-types-for 'script'");
  expect(policy).not.toMatch(/unsafe|https?:|\*/);
  const etag = String(first.headers["etag"]);
  expect((await server.inject({ url: "/", headers: { "if-none-match": etag } })).statusCode).toBe(304);
  expect((await server.inject({ url: "/", headers: { "if-none-match": '"other"' } })).statusCode).toBe(200);
});

test("TypeScript arrives without types, and taking them out says nothing on stderr", async () => {
  const format = await server.inject("/dashboard/format.ts");
  expect(format.headers["content-type"]).toContain("text/javascript");
  expect(format.body).toContain("export function duration(seconds");
  expect(format.body).not.toContain("seconds: number");
  expect((await server.inject("/dashboard/../package.json")).statusCode).toBe(404);
});
