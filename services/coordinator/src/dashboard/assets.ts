import { hash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

/** One file as a browser gets it. */
export interface Asset {
  type: string;
  body: string;
  /** Changes with the content: a browser asks each time and gets the file only when it is another one. */
  etag: string;
}

const PAGES = new URL("../../dashboard/", import.meta.url);
/** The rendering library is a folder of plain modules; these are the ones that our pages load. */
const LIT = new URL("../", import.meta.resolve("lit-html"));
const LIT_FILES = [
  "lit-html.js",
  "directive.js",
  "directive-helpers.js",
  "async-directive.js",
  "directives/repeat.js",
  "directives/ref.js",
  "directives/live.js",
  "directives/keyed.js",
];

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".ts": "text/javascript; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
};

/** Every file of the dashboard by its path on the server. Its TypeScript has its types taken out, as Node does it. */
export async function readAssets(): Promise<Map<string, Asset>> {
  const assets = new Map<string, Asset>();
  for (const entry of await readdir(PAGES, { recursive: true })) {
    const type = TYPES[extname(entry)];
    if (type === undefined) continue;
    const text = await readFile(new URL(entry, PAGES), "utf8");
    assets.set(entry === "index.html" ? "/" : `/dashboard/${entry}`, asset(type, entry.endsWith(".ts") ? withoutTypes(text) : text));
  }
  for (const name of LIT_FILES) {
    // Without the line that names a map of sources, which is not served.
    const text = (await readFile(new URL(name, LIT), "utf8")).replace(/\n\/\/# sourceMappingURL=.*/, "");
    assets.set(`/dashboard/lit-html/${name}`, asset("text/javascript; charset=utf-8", text));
  }
  return assets;
}

/** Where the files are on disk, for checks that read them. */
export const dashboardFolder = fileURLToPath(PAGES);

function asset(type: string, body: string): Asset {
  return { type, body, etag: `"${hash("sha256", body, "base64url").slice(0, 22)}"` };
}

/** Node warns at the first use that this may change; among log lines in JSON nobody could make sense of that. */
function withoutTypes(text: string): string {
  const emitWarning = process.emitWarning.bind(process);
  process.emitWarning = () => {};
  try {
    return stripTypeScriptTypes(text);
  } finally {
    process.emitWarning = emitWarning;
  }
}
