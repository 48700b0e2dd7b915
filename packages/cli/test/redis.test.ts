import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { pause } from "@scoutsync/runtime";
import { findRedis } from "../src/redis/find.ts";

const FIND = new URL("../src/redis/find.ts", import.meta.url).href;

test("REDIS_URL is taken as it is", async () => {
  const redis = await findRedis({ env: { REDIS_URL: "redis://example:1" }, dataDirectory: "/nowhere" });
  expect(redis).toMatchObject({ url: "redis://example:1", program: null });
});

test("a private Redis ends with its parent, also when that is killed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "scoutsync-redis-"));
  try {
    const code = `const { findRedis } = await import(${JSON.stringify(FIND)});
      const redis = await findRedis({ env: { PATH: process.env.PATH }, dataDirectory: ${JSON.stringify(folder)} });
      console.log(redis.url); setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
    const url = await new Promise<string>((resolve) => parent.stdout.once("data", (piece: Buffer) => resolve(piece.toString().trim())));
    const port = Number(new URL(url).port);
    expect(await isOpen(port)).toBe(true);
    parent.kill("SIGKILL");
    for (let tries = 0; tries < 600 && (await isOpen(port)); tries++) await pause(100);
    expect(await isOpen(port)).toBe(false);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
