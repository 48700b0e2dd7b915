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
    expect(await run({ argv: ["completion", shell], env: {}, cwd: folder, stdout, stderr: new PassThrough() })).toBe(0);
    writeFileSync(join(folder, FILES[shell]), String(stdout.read()));
  }
});

/** What the Tab key offers at the end of the line, by the shell itself. */
const OFFERS: Readonly<Record<(typeof SHELLS)[number], (words: readonly string[]) => string[]>> = {
  bash(words) {
    const script = `source ${FILES.bash}; COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _scoutsync; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return lines(execFileSync("bash", ["-c", script], { cwd: folder, encoding: "utf8" }));
  },
  // Only a line editor completes: one on a terminal of its own, asked to list what it has.
  zsh(words) {
    const script = `
      zmodload zsh/zpty
      zpty shell 'PS1= zsh -f -i'
      zpty -w shell "fpath=(${folder} \\$fpath); autoload -U compinit; compinit -u -d ${folder}/dump; stty cols 60 rows 4000; LISTMAX=10000; zstyle ':completion:*' list-colors ''; bindkey '^X' list-choices; unsetopt list_beep; zstyle ':completion:*' list-separator '|'"
      zpty -w shell "print -r -- RE''ADY"
      zpty -r -m shell ready '*READY*'
      zpty -w -n shell "${words.join(" ")}"$'\\x18'
      sleep 0.5
      zpty -w -n shell $'\\x03'
      zpty -w shell "print -r -- DO''NE"
      zpty -r -m shell answer '*DONE*'
      print -r -- "$answer"
      zpty -d shell`;
    const text = execFileSync("zsh", ["-f", "-c", script], { cwd: folder, encoding: "utf8", timeout: 30_000 });
    return lines(text.replaceAll(/\x1b\[[0-9;?]*[A-Za-z]/g, ""))
      .flatMap((line) => line.split(/\s+/))
      .filter((word) => word !== "");
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
