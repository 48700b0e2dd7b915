import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseStatus, FileRootStatus } from "@scoutsync/protocol";
import { expect, onTestFinished, test } from "vitest";
import { inequalities, isConverged } from "../src/detection/certificate.ts";
import { Fleet } from "../src/detection/fleet.ts";
import { FleetEvents } from "../src/events.ts";
import { SourceChoice } from "../src/jobs/source-choice.ts";
import { enrol } from "../src/registry/enrolment.ts";
import { openRegistry } from "../src/registry/registry.ts";

const A = "aaaaaaaaaaaaaaa2";
const B = "bbbbbbbbbbbbbbb2";
const IDLE = { demanded: false, moving: false };

function fleetOf() {
  const directory = mkdtempSync(join(tmpdir(), "scoutsync-scoped-"));
  const registry = openRegistry(directory);
  onTestFinished(() => {
    registry.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const fleet = new Fleet(registry, new FleetEvents());
  const node = (name: string, scope: string | null) => {
    const id = enrol(registry, { nodeId: name, name, host: "10.0.0.1", port: 7000 + name.charCodeAt(0), version: "1", run: "r" });
    fleet.heard(id, scope);
    return id;
  };
  const at = (name: string, vector: string, scope = "", digest = vector) => DatabaseStatus.fromPartial({ name, vector, scope, digest });
  const root = (digest: string, scope = "") => FileRootStatus.fromPartial({ root: "uploads", digest, scope });
  const choose = (id: number, now = IDLE) => {
    const one = fleet.node(id);
    const found = one && new SourceChoice(fleet).choose(one, new Set(), now);
    return found !== null && typeof found === "object" ? found.row.name : found;
  };
  const states = () =>
    Object.fromEntries([...inequalities(fleet.nodes())].map(([id, { kind, reason }]) => [fleet.node(id)?.row.name, `${kind}: ${reason}`]));
  const behind = () => fleet.behind().map(({ row }) => row.name);
  return { fleet, node, at, root, choose, states, behind };
}

test("nodes of scopes meet the server of their scope, never each other or others, and count as equal to what it shows", () => {
  const { fleet, node, at, root, choose, states, behind } = fleetOf();
  const [server, twin, blue, azure, red] = [
    node("server", null),
    node("twin", null),
    node("blue", "blue"),
    node("azure", "blue"),
    node("red", "red"),
  ];
  const serve = (blues: string, reds: string) =>
    fleet.observe(server, [at("main", `${A}:9`), at("main", blues, "blue"), at("main", reds, "red")]);
  serve(`${B}:5`, `${A}:2`);
  fleet.observeFiles(server, [root("whole"), root("part", "blue")]);
  fleet.observe(twin, [at("main", `${A}:9`)]);
  fleet.observeFiles(twin, [root("whole")]);
  // One that says that it is of none, and is by its certificate.
  fleet.observe(blue, [at("main", `${B}:5`)]);
  fleet.observeFiles(blue, [root("part")]);
  fleet.observe(azure, [at("main", `${B}:5`, "blue")]);
  fleet.observeFiles(azure, [root("part", "blue")]);
  fleet.observe(red, [at("main", `${A}:2`, "red")]);
  expect([states(), behind(), isConverged(fleet.nodes())]).toEqual([{}, [], true]);
  for (const id of [server, twin, blue, azure, red]) expect(choose(id)).toBe(null);

  // One of them writes: it is behind, and nobody else; its server takes it by a session that the laptop runs.
  fleet.observe(blue, [at("main", `${B}:7`)]);
  expect([behind(), isConverged(fleet.nodes())]).toEqual([["blue"], false]);
  expect(states()).toEqual({ blue: expect.stringMatching(/behind: Has changes that the server/) });
  expect([choose(blue), choose(server), choose(azure), choose(red), choose(twin)]).toEqual(["server", null, null, null, null]);
  serve(`${B}:7`, `${A}:2`);
  expect(behind()).toEqual(["azure"]);
  expect(states()).toEqual({ azure: expect.stringMatching(/behind: Lacks/) });
  expect(choose(azure)).toBe("server");
  expect(choose(twin, { demanded: true, moving: false })).toBe("server");
  fleet.observe(azure, [at("main", `${B}:7`)]);

  // Files alone, other rows at one vector, and a scope that nobody serves any more.
  fleet.observeFiles(azure, [root("other")]);
  expect([behind(), choose(azure)]).toEqual([["azure"], "server"]);
  expect(states()).toEqual({ azure: expect.stringMatching(/same files/) });
  fleet.observeFiles(azure, [root("part")]);
  fleet.observe(azure, [at("main", `${B}:7`, "blue", "other rows")]);
  expect(states()).toEqual({ azure: expect.stringMatching(/^diverged/) });
  fleet.observe(server, [at("main", `${A}:9`), at("main", `${B}:7`, "blue")]);
  expect(states()).toMatchObject({ red: expect.stringMatching(/serves "main@red"/) });
});
