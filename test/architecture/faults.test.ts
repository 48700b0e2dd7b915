import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { FAULTS } from "../faults/faults.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

test("the text that each planted fault replaces is in the sources, once", () => {
  const sources = globSync("{packages,services}/*/src/**/*.ts", { cwd: ROOT }).map((path) => readFileSync(`${ROOT}/${path}`, "utf8"));
  const times = (find: string) => sources.reduce((sum, text) => sum + text.split(find).length - 1, 0);
  const lost = FAULTS.flatMap(({ name, edits }) =>
    edits.filter(([find]) => times(find) !== 1).map(([find]) => `${name}: ${times(find)} times ${find}`),
  );
  expect(lost).toEqual([]);
});
