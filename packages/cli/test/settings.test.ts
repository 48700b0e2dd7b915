import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nodeSettingsFromEnvironment, resolveNodeSettings } from "../src/config/load.ts";
import { nodeSettingsFromFile } from "../src/config/yaml.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "scoutsync-settings-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("flags win over the environment, the environment over the file, the file over defaults", () => {
  writeFileSync(join(folder, "node.yaml"), "name: file\nlisten: 127.0.0.1:1\nbaseline: shared\ndatabases:\n  main: ./a.db\n");
  const file = nodeSettingsFromFile(join(folder, "node.yaml"));
  const environment = nodeSettingsFromEnvironment({
    env: { SCOUTSYNC_NAME: "environment", SCOUTSYNC_LISTEN: "127.0.0.1:2", SCOUTSYNC_RECEIVE_ONLY: "yes" },
    cwd: "/",
  });
  expect(resolveNodeSettings({ name: "flag" }, environment, file)).toEqual({
    name: "flag",
    listen: "127.0.0.1:2",
    baseline: "shared",
    // Relative to the file, not to wherever the node was started.
    databases: [{ name: "main", path: join(folder, "a.db") }],
    peers: [],
    exclude: [],
    sensitive: [],
    files: [],
    file_exclude: [],
    row_files: [],
    file_max_mib: 65_536,
    file_min_free_mib: 1_024,
    file_rate_mib: 0,
    row_rate: 0,
    row_rate_mib: 0,
    rules: [],
    references: [],
    park: [],
    receive_only: true,
    insecure: false,
    run_triggers: [],
    reissue_after_days: 7,
    retention_days: 30,
    serve_restored: false,
    suspend_triggers: [],
    quarantine: "100:50",
  });
});

test("databases may be a list in the file and comma-separated in the environment", () => {
  writeFileSync(join(folder, "list.yaml"), "databases:\n  - name: main\n    path: /x/a.db\n");
  expect(nodeSettingsFromFile(join(folder, "list.yaml")).databases).toEqual([{ name: "main", path: "/x/a.db" }]);
  expect(nodeSettingsFromEnvironment({ env: { SCOUTSYNC_DB: "a=1.db, b=/2.db" }, cwd: "/base" }).databases).toEqual([
    { name: "a", path: "/base/1.db" },
    { name: "b", path: "/2.db" },
  ]);
});

test("a misspelt key in the file is an error, not ignored", () => {
  writeFileSync(join(folder, "typo.yaml"), "name: n\ndatabase: {main: a.db}\ndatabases: {main: a.db}\n");
  expect(() => resolveNodeSettings({}, {}, nodeSettingsFromFile(join(folder, "typo.yaml")))).toThrow(/"database"/);
});

test("rules are lines of the file, entries of the environment and flags alike", () => {
  const rules = ["main.match.score=max", "main.user.role=prefer:hub,shop", "main.team.tags=set"];
  writeFileSync(
    join(folder, "rules.yaml"),
    "name: n\ndatabases: {main: a.db}\nrules: {main.match.score: max, main.user.role: {prefer: [hub, shop]}, main.team.tags: set}\n",
  );
  const file = nodeSettingsFromFile(join(folder, "rules.yaml"));
  expect(resolveNodeSettings({}, {}, file).rules).toEqual(rules);
  expect(nodeSettingsFromEnvironment({ env: { SCOUTSYNC_RULE: rules.join("; ") }, cwd: "/" }).rules).toEqual(rules);
  expect(() => resolveNodeSettings({ rules: ["main.match.score=most"] }, {}, file)).toThrow(/"most" is no rule.*--rule/s);
  expect(() => resolveNodeSettings({ rules: ["other.match.score=max"] }, {}, file)).toThrow(/names no database/);
});

test("references are lines of the file, entries of the environment and flags alike", () => {
  const references = ["main.scouting.scout_id=main.user.id"];
  writeFileSync(join(folder, "refs.yaml"), "name: n\ndatabases: {main: a.db}\nreferences: {main.scouting.scout_id: main.user.id}\n");
  const file = nodeSettingsFromFile(join(folder, "refs.yaml"));
  expect(resolveNodeSettings({}, {}, file).references).toEqual(references);
  expect(nodeSettingsFromEnvironment({ env: { SCOUTSYNC_REFERENCE: references.join(",") }, cwd: "/" }).references).toEqual(references);
  expect(() => resolveNodeSettings({ references: ["main.scouting.scout_id"] }, {}, file)).toThrow(/--reference/);
});

test("a path may contain an equals sign", () => {
  expect(nodeSettingsFromEnvironment({ env: { SCOUTSYNC_DB: "main=/a=b.db" }, cwd: "/" }).databases).toEqual([
    { name: "main", path: "/a=b.db" },
  ]);
});
