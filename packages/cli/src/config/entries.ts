import { resolve } from "node:path";
import { usageError } from "../exit.ts";

/** `NAME=PATH`; the path is relative to `base`. */
export function parseDatabase(text: string, base: string): { name: string; path: string } {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1) {
    throw usageError(`"${text}" is not NAME=PATH`, "Give each database as --db NAME=PATH, for example --db main=./app.db");
  }
  return { name: text.slice(0, at), path: resolve(base, text.slice(at + 1)) };
}

/** `ROOT=DIR`; the folder is relative to `base`. */
export function parseFileRoot(text: string, base: string): { name: string; path: string } {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1) {
    throw usageError(`"${text}" is not ROOT=DIR`, "Give each file root as --files ROOT=DIR, for example --files uploads=./uploads");
  }
  return { name: text.slice(0, at), path: resolve(base, text.slice(at + 1)) };
}
