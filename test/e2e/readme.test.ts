import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { childEnvironment, createDatabase, selectOne, temporaryFolder, until } from "@scoutsync/testkit";
import { expect, onTestFinished, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The commands of the README's block that ends with asking for the fleet by a key. */
function commands(): string[] {
  const blocks = [...readFileSync(join(ROOT, "README.md"), "utf8").matchAll(/```sh\n([\s\S]*?)```/g)].map(([, text = ""]) => text);
  const block = blocks.find((text) => text.includes("keys create")) ?? "";
  return block.split("\n").flatMap((line) => line.replace(/\s+# .*/, "").trim() || []);
}

test("the README's commands make a fleet of three over mutual TLS, with a key and a login", async () => {
  const begun = performance.now();
  const folder = temporaryFolder("readme");
  const running: ChildProcess[] = [];
  onTestFinished(async () => {
    const ended = running.map((child) => new Promise((resolve) => (child.exitCode === null ? child.once("exit", resolve) : resolve(0))));
    for (const child of running) child.kill("SIGTERM");
    await Promise.all(ended);
    folder.remove();
  });
  // `npx scoutsync` finds the clone's own program; npx itself would ask a registry where this directory is none.
  mkdirSync(join(folder.path, "bin"));
  const npx = `#!/bin/sh\nshift\nexec "${process.execPath}" "${join(ROOT, "packages/cli/src/main.ts")}" "$@"\n`;
  writeFileSync(join(folder.path, "bin", "npx"), npx, { mode: 0o755 });
  const env: NodeJS.ProcessEnv = {
    ...childEnvironment(),
    PATH: `${join(folder.path, "bin")}:${process.env["PATH"] ?? ""}`,
    XDG_CONFIG_HOME: join(folder.path, "config"),
  };
  const shell = (command: string) => {
    const child = spawn("bash", ["-c", command], { cwd: folder.path, env, stdio: ["ignore", "pipe", "pipe"] });
    const text = { out: "", err: "" };
    child.stdout.setEncoding("utf8").on("data", (piece: string) => (text.out += piece));
    child.stderr.setEncoding("utf8").on("data", (piece: string) => (text.err += piece));
    return { child, text };
  };
  const once = async (command: string) => {
    const { child, text } = shell(command);
    const code = await new Promise((resolve) => child.once("close", resolve));
    expect(code, `${command}: ${text.err}`).toBe(0);
    return text.out;
  };
  const service = async (command: string) => {
    const { child, text } = shell(`exec ${command}`);
    running.push(child);
    await until(() => text.out.includes("\n") || child.exitCode !== null, { what: `${command} is ready`, everyMs: 50, withinMs: 60_000 });
    expect(child.exitCode, text.err).toBe(null);
    return JSON.parse(text.out.split("\n", 1)[0] ?? "") as { listen: string; http: string };
  };

  const [init = "", coordinator = "", node = "", key = "", user = "", curl = "", ...others] = commands();
  expect(others).toEqual([]);
  await once(init);
  // Ports that are free on this machine are all that differs from what is written there.
  const { listen, http } = await service(coordinator.replace("0.0.0.0:7070", "127.0.0.1:0").replace("0.0.0.0:8080", "127.0.0.1:0"));
  env["SCOUTSYNC_COORDINATOR"] = listen;
  const paths = ["first", "second", "third"].map((name) => createDatabase(join(folder.path, `${name}.db`), "CREATE TABLE note(body TEXT)"));
  await Promise.all(
    paths.map((path, at) => {
      const name = ["first", "second", "third"][at] ?? "";
      return service(
        node.replace("--name first", `--name ${name}`).replace("0.0.0.0:7071", "127.0.0.1:0").replace("/srv/app/app.db", path),
      );
    }),
  );
  const [secret = ""] = /scout_key_\S+/.exec(await once(key)) ?? [];
  const password = /shown again: (\S+)/.exec(await once(user))?.[1] ?? "";
  const asked = curl.replace("KEY", secret).replace("localhost:8080", http.replace("127.0.0.1", "localhost"));
  const names = async () => (JSON.parse(await once(asked)) as { nodes: { name: string }[] }).nodes.map(({ name }) => name).sort();
  // A node says that it is ready before its coordinator has heard of it.
  await until(async () => (await names()).length === 3, { what: "the coordinator knows all three" });
  expect(await names()).toEqual(["first", "second", "third"]);
  const site = `https://${http.replace("127.0.0.1", "localhost")}`;
  const ca = "--cacert .scoutsync-coordinator/fleet/ca.pem";
  expect(await once(`curl -s -o /dev/null -w '%{http_code}' ${ca} ${site}/api/fleet`)).toBe("401");
  const login = `-c jar -H 'content-type: application/json' -d '${JSON.stringify({ name: "ada", password })}' ${site}/login`;
  expect(JSON.parse(await once(`curl -s ${ca} ${login}`))).toMatchObject({ name: "ada", role: "operator" });
  expect(await once(`curl -s -b jar -o /dev/null -w '%{http_code}' ${ca} ${site}/api/fleet`)).toBe("200");

  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(paths[0] ?? "", { timeout: 10_000 });
  database.exec("INSERT INTO note VALUES('from the first')");
  database.close();
  for (const path of paths) await until(() => selectOne(path, "SELECT count(*) FROM note") === 1n, { what: `${path} has the row` });
  console.log(
    `from nothing to a fleet of three with a key and a login, by the README's commands: ${((performance.now() - begun) / 1_000).toFixed(1)} s`,
  );
});
