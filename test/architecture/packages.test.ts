import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

interface Locked {
  version?: string;
  integrity?: string;
  link?: boolean;
  hasInstallScript?: boolean;
}

const { packages } = JSON.parse(readFileSync(`${ROOT}/package-lock.json`, "utf8")) as { packages: Record<string, Locked> };
const { allowScripts } = JSON.parse(readFileSync(`${ROOT}/package.json`, "utf8")) as { allowScripts: Record<string, boolean> };
/** What comes from a registry, by where it is installed. */
const foreign = Object.entries(packages).filter(([path, { link }]) => path.includes("node_modules/") && !link);
const nameOf = (path: string) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);

/** Scripts that npm would run when it installs the package; a binding.gyp without one counts as `node-gyp rebuild`. */
function installScripts(path: string): string[] {
  const at = `${ROOT}/${path}`;
  // One of another platform.
  if (!existsSync(`${at}/package.json`)) return [];
  const { scripts = {} } = JSON.parse(readFileSync(`${at}/package.json`, "utf8")) as { scripts?: Record<string, string> };
  const found = ["preinstall", "install", "postinstall"].filter((name) => scripts[name] !== undefined);
  return found.length === 0 && existsSync(`${at}/binding.gyp`) ? ["binding.gyp"] : found;
}

test("every package from a registry is fixed by version and SHA-512", () => {
  expect(foreign.length).toBeGreaterThan(100);
  const loose = foreign.filter(([, { version, integrity }]) => !/^\d+\.\d+\.\d+/.test(version ?? "") || !integrity?.startsWith("sha512-"));
  expect(loose.map(([path]) => path)).toEqual([]);
});

test("no package runs a script when it is installed: one that has one is named in allowScripts, and turned off there", () => {
  const scripted = foreign.filter(([path, { hasInstallScript }]) => hasInstallScript || installScripts(path).length > 0);
  const off = Object.entries(allowScripts).flatMap(([name, allowed]) => (allowed ? [] : [name]));
  expect(scripted.map(([path]) => nameOf(path)).sort()).toEqual(off.sort());
  expect(Object.values(allowScripts)).not.toContain(true);
});
