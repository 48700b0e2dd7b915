import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { ENTITY_FAULTS } from "../faults/entity-faults.ts";
import { FAULTS } from "../faults/faults.ts";
import { FILE_FAULTS } from "../faults/file-faults.ts";
import { SCOPE_FAULTS } from "../faults/scope-faults.ts";
import { SECURITY_FAULTS } from "../faults/security-faults.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

test("the text that each planted fault replaces is in the sources, once", () => {
  const sources = globSync("{packages,services}/*/src/**/*.ts", { cwd: ROOT }).map((path) => readFileSync(`${ROOT}/${path}`, "utf8"));
  const times = (find: string) => sources.reduce((sum, text) => sum + text.split(find).length - 1, 0);
  const lost = [...FAULTS, ...ENTITY_FAULTS, ...FILE_FAULTS, ...SCOPE_FAULTS, ...SECURITY_FAULTS].flatMap(({ name, edits }) =>
    edits.filter(([find]) => times(find) !== 1).map(([find]) => `${name}: ${times(find)} times ${find}`),
  );
  expect(lost).toEqual([]);
});
