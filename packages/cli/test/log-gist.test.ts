import { expect, test } from "vitest";
import { logGist } from "../src/output/log-gist.ts";

test.each([
  [
    { source: "hub", database_changes: { sent: 0, received: 4 }, file_changes: { uploaded: 1, downloaded: 0 }, errors: [] },
    "with hub, changes received: 4, files sent: 1",
  ],
  [{ source: "hub", database_changes: { sent: 0, received: 0 }, errors: [] }, "with hub, nothing to exchange"],
  [{ source: "hub", errors: [{ code: "DISK_FULL", message: "no room" }] }, "no room"],
  [{ message: "Rows and capture agree again" }, "Rows and capture agree again"],
])("%j is told as %s", (details, text) => {
  expect(logGist(JSON.stringify(details))).toBe(text);
});

test("what is no JSON of the coordinator's is shown as it is", () => {
  for (const text of ["by hand", "[1]", "null"]) expect(logGist(text)).toBe(text);
});
