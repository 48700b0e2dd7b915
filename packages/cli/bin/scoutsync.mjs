#!/usr/bin/env node
// The system's Node may be too old to read TypeScript, and would crash on the SQLite binding: choose the right one first.
import { join } from "node:path";
import { become, findNode, noNode, ROOT } from "./node24.mjs";

const main = join(ROOT, "packages/cli/src/main.ts");
const node = findNode();
if (node === null) noNode();
else if (node === process.execPath) await import(main);
else become(node, [main, ...process.argv.slice(2)]);
