import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../src/run.ts";
import { buildProgram } from "../src/program.ts";
import type { Command } from "commander";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "scoutsync-cli-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function type(line: string, env: Record<string, string> = {}) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const code = await run({ argv: line.split(" ").filter(Boolean), env, cwd: folder, stdout, stderr });
  const text = (stream: PassThrough) => ((stream.read() as Buffer | null) ?? "").toString();
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

const COMMANDS =
  "node coordinator worker sync ping verify export import changes history restore reissue forget status scan logs init invite join reliability alerts api cleanup doctor detach completion".split(
    " ",
  );

describe("the command line's contract", () => {
  test.each([
    ...COMMANDS,
    "review list",
    "review show",
    "review resolve",
    "nodes list",
    "nodes found",
    "nodes show",
    "nodes sync",
    "nodes add",
    "nodes pause",
    "nodes resume",
    "nodes retire",
    "nodes remove",
    "members list",
    "members revoke",
    "keys create",
    "keys list",
    "keys revoke",
    "users add",
    "users list",
    "users remove",
    "peers list",
    "peers retire",
    "jobs list",
    "jobs retry",
    "jobs cancel",
    "jobs pause",
    "jobs resume",
    "files list",
    "files status",
    "files restore",
    "files forget",
    "config get",
    "config set",
  ])("%s has help with examples and speaks JSON", async (command) => {
    const { code, stdout, stderr } = await type(`${command} --help`);
    expect(code).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toContain("Examples:");
    expect(stdout).toContain(`$ scoutsync ${command}`);
    expect(stdout).toContain("--json");
    expect(stdout).toContain("--log-level");
  });

  test.each([
    ["", 2],
    ["nosuch", 2],
    ["ping", 2],
    ["ping 127.0.0.1:1 extra", 2],
    ["ping 127.0.0.1:1 --bogus", 2],
    ["ping host:port:more", 2],
    ["changes 127.0.0.1:1", 2],
    ["changes 127.0.0.1:1 --db x --since nonsense", 2],
    ["changes 127.0.0.1:1 --db x --limit 0", 2],
    ["ping 127.0.0.1:1 --log-level loud", 2],
    ["review resolve 127.0.0.1:1 id", 2],
    ["review resolve 127.0.0.1:1 id --keep winner --set a=b", 2],
    ["review resolve 127.0.0.1:1 id --release --undo", 2],
    ["review resolve 127.0.0.1:1 id --release", 1],
    ["node --name n --db a=x.db --quarantine nonsense", 2],
    ["nodes add pits nonsense", 2],
    ["api no-such-operation", 2],
    ["api listLogs nonsense", 2],
    ["api listLogs page:=", 2],
    ["invite --role king", 2],
    ["invite --expires soon", 2],
    ["init --name a/b", 2],
    ["join nonsense", 2],
    ["node --name n --db a=x.db --join nonsense", 2],
    ["node --name n --db a=x.db --listen 0.0.0.0:0", 2],
    ["worker --coordinator 192.0.2.1:7070", 2],
    ["node --name n --db a=x.db --metrics 0.0.0.0:0", 2],
    ["ping 192.0.2.1:7071", 2],
    ["ping 127.0.0.1:1 --identity nowhere", 2],
    ["members list --coordinator 127.0.0.1:1", 1],
    ["coordinator --redis http://127.0.0.1", 2],
    ["coordinator --listen nonsense", 2],
    ["coordinator --discover nonsense", 2],
    ["node --name n --db a=x.db --discover nonsense", 2],
    ["node --files nonsense --db a=b", 2],
    ["node --name n --files a=x --files a=y", 2],
    ["node --name n --files a=x --file-exclude b:*.bak", 2],
    ["node --db nonsense", 2],
    ["node --config /no/such/file", 2],
    ["node --name n", 2],
    ["node --name n --db a=x.db --db a=y.db", 2],
    ["node --name n --db a=x.db --exclude b.table", 2],
    ["node --name n --db a=x.db --rule b.t.c=max", 2],
    ["node --name n --db a=x.db --rule a.t.c=most", 2],
    ["node --name n --db a=x.db --park b.table", 2],
    ["node --name n --db a=x.db --peer nonsense", 2],
    ["ping 127.0.0.1:1", 1],
    ["sync 127.0.0.1:1 127.0.0.1:2", 1],
    ["status --coordinator 127.0.0.1:1", 1],
    ["ping pits --coordinator 127.0.0.1:1", 1],
    ["--version", 0],
    ["--help", 0],
  ])("%s exits with %i", async (line, expected) => {
    const { code, stdout, stderr } = await type(line);
    expect(code).toBe(expected);
    if (expected === 0 || line === "") return;
    expect(stdout).toBe("");
    // One clear line: who speaks, what happened, what to do; never a stack.
    expect(stderr).toMatch(/^scoutsync: [^\n]+\n$/);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  test.each([
    "ping --bogus --json",
    "ping 127.0.0.1:1 --json",
    "--json status --coordinator 127.0.0.1:1",
    "sync 127.0.0.1:1 127.0.0.1:2 --json",
  ])("%s fails with exactly one JSON document", async (line) => {
    const { stdout } = await type(line);
    expect(() => JSON.parse(stdout) as unknown).not.toThrow();
  });

  test("a failed session has the shape of every session", async () => {
    const { stdout, code } = await type("sync 127.0.0.1:1 127.0.0.1:2 --json");
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      success: false,
      verified: false,
      stats: { local_changes_sent: 0, bytes_received: 0 },
      errors: [{ code: "PEER_UNREACHABLE" }],
    });
  });

  test("a stack is shown only when debugging", async () => {
    const { stderr } = await type("ping 127.0.0.1:1 --log-level debug");
    expect(stderr).toMatch(/\n\s+at /);
  });

  test("every command of the program is covered here", () => {
    const names: string[] = [];
    const collect = (command: Command, path: string) => {
      for (const child of command.commands) {
        const name = `${path}${child.name()}`;
        if (child.commands.length > 0) collect(child, `${name} `);
        else names.push(name);
      }
    };
    collect(buildProgram({ argv: [], env: {}, cwd: folder, stdout: new PassThrough(), stderr: new PassThrough() }), "");
    const nested = names.filter((name) => name.includes(" ") && !name.startsWith("files "));
    expect(names.filter((name) => !name.includes(" ")).sort()).toEqual([...COMMANDS].sort());
    expect(nested.length).toBe(29);
  });
});

test("the configuration error names the key, the flag and every problem at once", async () => {
  writeFileSync(join(folder, "node.yaml"), "name: 'two words'\nbaseline: maybe\nlisten: here\n");
  const { code, stderr } = await type("node --config node.yaml");
  expect(code).toBe(2);
  for (const part of ["--name", "--db", "--baseline", '"here" is not host:port']) expect(stderr).toContain(part);
});
