#!/usr/bin/env node
// The system's Node may be too old to read TypeScript, and would crash on the SQLite binding: choose the right one first.
import { join } from "node:path";
import { become, findNode, noNode, ROOT, serviceNode } from "./node24.mjs";

const main = join(ROOT, "packages/cli/src/main.ts");
const args = process.argv.slice(2);
const { flags, env } = serviceNode(args);
const node = findNode();
if (node === null) noNode();
else if (node !== process.execPath) become(node, [...flags, main, ...args], { ...env, ...process.env });
else {
  // In our place, under the same process id. Where that cannot be done (Windows) it runs as it is, in more memory.
  if (Object.keys(env).length > 0 && process.execve && process.platform !== "win32")
    process.execve(node, [node, ...flags, ...process.execArgv, main, ...args], { ...env, ...process.env });
  await import(main);
}
