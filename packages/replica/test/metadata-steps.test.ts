import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

// Databases that carry them are out there: what is new goes into a further step, or those databases never get it.
test.each([
  ["001-metadata.sql", "34e6827a893fbb6e828793e9d05d32c4ad0bf57d38c2a75ce8303a96e262512d"],
  ["002-more.sql", "a38eeee5032242a95079d7210e8a803cb342cbbfa8ad1e921374d72074afab03"],
  ["003-entities.sql", "c8e2853c4631af24dfd1d950ae38da5b17684079f3b2d30299f1212c80e4fcd8"],
  ["004-scopes.sql", "8b29388e2f28582a6e016edc3804b1b50d440b3ef3d57c53a6ab40212c627778"],
  ["005-notices.sql", "3067511757dd26873bc33a3cf4b5f044e8bcf835a01d3b80591c922e3d69e434"],
])("step %s of the metadata is as it was released", (name, sha256) => {
  expect(hash("sha256", readFileSync(new URL(`../src/sql/${name}`, import.meta.url)))).toBe(sha256);
});
