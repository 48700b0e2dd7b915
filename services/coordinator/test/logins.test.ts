import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { isToken, Logins } from "../src/access/logins.ts";
import { openRegistry } from "../src/registry/registry.ts";

const PASSWORD = "four words make one";

test("a login outlives the coordinator's process, its secrets are in no file, and it ends with its user's password or removal", async () => {
  const folder = mkdtempSync(join(tmpdir(), "scoutsync-logins-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const start = () => {
    const registry = openRegistry(folder);
    return { logins: new Logins(registry.access), stop: () => registry.close() };
  };
  // As a version before this one left it.
  writeFileSync(join(folder, "coordinator.db"), "", { mode: 0o644 });
  const first = start();
  for (const name of readdirSync(folder)) expect([name, statSync(join(folder, name)).mode & 0o007]).toEqual([name, 0]);
  await first.logins.setUser({ name: "ada", role: "operator", password: PASSWORD });
  const { token, csrf } = await first.logins.login("ada", PASSWORD, "127.0.0.1");
  first.stop();
  const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)));
  for (const secret of [token, csrf, PASSWORD]) expect(files.some((bytes) => bytes.includes(secret))).toBe(false);

  const second = start();
  onTestFinished(() => second.stop());
  const { logins } = second;
  const session = logins.session(token);
  expect(session).toMatchObject({ name: "ada", role: "operator" });
  expect([isToken(csrf, session!.csrfHash), isToken("another", session!.csrfHash)]).toEqual([true, false]);
  expect(logins.session("another")).toBe(null);
  await logins.setUser({ name: "ada", role: "viewer", password: PASSWORD });
  expect(logins.session(token)).toBe(null);
  const again = await logins.login("ada", PASSWORD, "127.0.0.1");
  expect(logins.session(again.token)).toMatchObject({ role: "viewer" });
  logins.logout(again.token);
  expect(logins.session(again.token)).toBe(null);
  const last = await logins.login("ada", PASSWORD, "127.0.0.1");
  logins.removeUser("ada");
  expect(logins.session(last.token)).toBe(null);
});
