import { createDatabase, differences, dumpDatabase, Fleet, runProgram, scoutsync, startWriter, until } from "@scoutsync/testkit";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SCHEMA = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT)";
/** Debian's own interpreter: others on PATH do not see Debian's python3-grpcio. */
const PYTHON = "/usr/bin/python3";
const PLUGIN = "/usr/bin/grpc_python_plugin";
const missing = [
  spawnSync(PYTHON, ["-c", "import grpc, google.protobuf"]).status === 0 ? null : "python3-grpcio",
  existsSync(PLUGIN) && !spawnSync("protoc", ["--version"]).error ? null : "protobuf-compiler-grpc",
].filter((name) => name !== null);

test.skipIf(missing.length > 0)(
  `Python's gRPC calls the streams${missing.length > 0 ? ` (skipped: ${missing.join(" and ")} not installed)` : ""}`,
  async () => {
    const fleet = new Fleet("python");
    try {
      const generated = join(fleet.directory, "generated");
      mkdirSync(join(generated, "scoutsync", "v1"), { recursive: true });
      const protoc = await runProgram("protoc", [
        `-I${join(ROOT, "proto")}`,
        `--python_out=${generated}`,
        `--grpc_python_out=${generated}`,
        `--plugin=protoc-gen-grpc_python=${PLUGIN}`,
        "scoutsync/v1/sync_node.proto",
      ]);
      expect(protoc.code, protoc.stderr).toBe(0);
      for (const folder of ["scoutsync", "scoutsync/v1"]) writeFileSync(join(generated, folder, "__init__.py"), "");

      const paths = { a: createDatabase(fleet.path("a", "app.db"), SCHEMA), b: createDatabase(fleet.path("b", "app.db"), SCHEMA) };
      const a = await fleet.node({ name: "a", databases: { app: paths.a } });
      const b = await fleet.node({ name: "b", databases: { app: paths.b } });
      const writer = startWriter();
      await writer.write({
        path: paths.a,
        statements: Array.from(
          { length: 450 },
          (_, at) => ["INSERT INTO note(body) VALUES (?)", [`note ${String(at).padStart(3, "0")}`]] as const,
        ),
      });
      await writer.stop();
      await until(async () => (await scoutsync(["changes", a.address, "--db", "app", "--count"])).stdout.trim() === "450", {
        what: "450 changes",
      });

      const done = await runProgram(PYTHON, [join(ROOT, "test", "interop", "python_client.py"), generated, a.address, b.address]);
      expect(done.code, done.stderr).toBe(0);
      const result = done.json<Record<string, unknown>>();
      expect(result).toMatchObject({
        name: "a",
        readable: 450,
        bodies: ["note 000", "note 001"],
        changes: 450,
        sha256: true,
        final: true,
        acknowledged: 450,
        verified: true,
        corrupt: "DATA_LOSS",
        unchanged: true,
        version: "FAILED_PRECONDITION",
        ping_after_cancel: "a",
        deadline: "DEADLINE_EXCEEDED",
      });
      expect(result["batches"]).toBeGreaterThanOrEqual(5);
      expect(result["push"]).toEqual(["ready", ...Array.from({ length: Number(result["batches"]) }, () => "ack")]);
      for (const details of ["corrupt_details", "version_details"]) expect(String(result[details])).toMatch(/\. [A-Z].+\.?$/);
      expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
    } finally {
      await fleet.stop();
    }
  },
);
