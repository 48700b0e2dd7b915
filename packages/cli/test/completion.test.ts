import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../src/run.ts";

const folder = mkdtempSync(join(tmpdir(), "scoutsync-completion-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SHELLS = ["bash", "zsh", "fish"] as const;
const FILES = { bash: "scoutsync.bash", zsh: "_scoutsync", fish: "scoutsync.fish" };
const isThere = (shell: string) => spawnSync(shell, ["-c", "true"]).status === 0;

beforeAll(async () => {
  for (const shell of SHELLS) {
    const stdout = new PassThrough();
    await run({ argv: ["completion", shell], env: {}, cwd: folder, stdout, stderr: new PassThrough() });
    writeFileSync(join(folder, FILES[shell]), String(stdout.read()));
  }
});

/** What the Tab key offers at the end of the line, by the shell itself. */
const OFFERS: Readonly<Record<(typeof SHELLS)[number], (words: readonly string[]) => string[]>> = {
  bash(words) {
    const script = `source ${FILES.bash}; COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _scoutsync; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return lines(execFileSync("bash", ["-c", script], { cwd: folder, encoding: "utf8" }));
  },
  // Only the line editor may call compadd: what the function hands to the shell is printed instead, and narrowed here.
  zsh(words) {
    const script = `
      compdef() { }
      _files() { }
      _describe() { local -a given; given=("\${(@P)2}"); print -rl -- "\${(@)given%%:*}" }
      source ./${FILES.zsh}
      words=(${words.map((word) => `'${word}'`).join(" ")}); CURRENT=${words.length}; _scoutsync`;
    const offered = lines(execFileSync("zsh", ["-f", "-c", script], { cwd: folder, encoding: "utf8" }));
    return offered.filter((word) => word.startsWith(words.at(-1) ?? ""));
  },
  fish(words) {
    const script = `source ${FILES.fish}; complete -C '${words.join(" ")}'`;
    const home = { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder };
    return lines(execFileSync("fish", ["--no-config", "-c", script], { cwd: folder, encoding: "utf8", env: home })).map(
      (line) => line.split("\t")[0] ?? "",
    );
  },
};

function lines(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line !== "");
}

for (const shell of SHELLS) {
  const skip = !isThere(shell);
  test.skipIf(skip)(`the Tab key completes in ${shell}${skip ? " (skipped: it is not installed)" : ""}`, () => {
    const offers = OFFERS[shell];
    expect(offers(["scoutsync", "sta"])).toContain("status");
    expect(offers(["scoutsync", "jobs", ""])).toEqual(expect.arrayContaining(["list", "retry", "cancel", "pause", "resume"]));
    // Behind a group come its own commands, not those of the same name elsewhere.
    expect(offers(["scoutsync", "nodes", "sync", "--"])).toContain("--coordinator");
    expect(offers(["scoutsync", "nodes", "sync", "--"])).not.toContain("--dry-run");
    expect(offers(["scoutsync", "sync", "--"])).toContain("--dry-run");
    // Values of an option.
    expect(offers(["scoutsync", "jobs", "list", "--state", ""])).toEqual(expect.arrayContaining(["waiting", "failed"]));
    expect(offers(["scoutsync", "jobs", "list", "--state", ""])).not.toContain("--limit");
    expect(offers(["scoutsync", "completion", ""])).toEqual(expect.arrayContaining(["bash", "zsh", "fish"]));
  });
}
