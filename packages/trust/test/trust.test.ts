import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  AuditLog,
  Authority,
  brokenLine,
  createCa,
  createFleet,
  createRequest,
  formatJoinCode,
  identityUri,
  issueCertificate,
  parseJoinCode,
  Revocations,
  storeIdentity,
  Trust,
} from "../src/index.ts";

const DAY_MS = 86_400_000;

let folder: string;
let authority: Authority;
let trust: Trust;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "scoutsync-trust-"));
  authority = await createFleet(join(folder, "first"), { role: "node", id: "first-id", name: "first" });
  trust = Trust.open(join(folder, "first")) as Trust;
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

const ca = () => ({ certificate: trust.own.ca, key: readFileSync(join(folder, "first", "authority", "ca-key.pem"), "utf8") });
const secretOf = (code: string) => parseJoinCode(code).secret;
const invited = () => secretOf(authority.invite("node", { addresses: ["127.0.0.1:1"] }).code);

async function admitted(id: string) {
  const { key, request } = await createRequest();
  const { certificate } = await authority.admit({ secret: invited(), request, nodeId: id, name: id });
  return { key, certificate, der: new X509Certificate(certificate).raw };
}

test("who was admitted is recognised, with its role and id, by every member", async () => {
  const { der, key, certificate } = await admitted("second-id");
  expect(trust.recognise(der)).toMatchObject({ role: "node", id: "second-id", name: "second-id", fleet: authority.fleet });
  storeIdentity(join(folder, "second"), { key, certificate, ca: trust.own.ca });
  const second = Trust.open(join(folder, "second")) as Trust;
  expect(second.recognise(new X509Certificate(trust.own.certificate).raw)).toMatchObject({ id: "first-id" });
  expect(second.authority).toBe(null);
  expect(statSync(join(folder, "second", "fleet", "identity.pem")).mode & 0o077).toBe(0);
});

test("a certificate of another CA, also one of the same name, is not", async () => {
  const member = { fleet: authority.fleet, role: "superadmin", id: "thief", name: "thief" } as const;
  const { request } = await createRequest();
  const other = await createCa(authority.fleet);
  const forged = await issueCertificate(request, { ca: other, member, serial: 9, lifetimeMs: DAY_MS, hosts: [] });
  expect(() => trust.recognise(new X509Certificate(forged).raw)).toThrow(/not issued by this fleet/);
  const foreign = await issueCertificate(request, {
    ca: ca(),
    member: { ...member, fleet: "0123456789abcdef" },
    serial: 9,
    lifetimeMs: DAY_MS,
    hosts: [],
  });
  expect(() => trust.recognise(new X509Certificate(foreign).raw)).toThrow(/another fleet/);
  // It names our CA and its key, and is signed by nobody.
  const altered = Buffer.from((await admitted("second-id")).der);
  altered[altered.length - 1] = (altered.at(-1) as number) ^ 1;
  expect(() => trust.recognise(altered)).toThrow(/not issued by this fleet/);
});

test("a certificate is worth nothing after its time, and a day before it was made", async () => {
  const { der } = await admitted("second-id");
  vi.useFakeTimers({ now: Date.now() + 13 * DAY_MS, toFake: ["Date"] });
  expect(trust.recognise(der).id).toBe("second-id");
  vi.setSystemTime(Date.now() + 2 * DAY_MS);
  expect(() => trust.recognise(der)).toThrow(/is valid from/);
  vi.setSystemTime(Date.now() - 20 * DAY_MS);
  expect(() => trust.recognise(der)).toThrow(/is valid from/);
});

test("a code lets in one, once, in its time; of many that come at once, one", async () => {
  const secret = invited();
  const requests = await Promise.all(Array.from({ length: 5 }, createRequest));
  const outcomes = await Promise.allSettled(
    requests.map(({ request }, at) => authority.admit({ secret, request, nodeId: `n${at}`, name: `n${at}` })),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled").length).toBe(1);
  const { request } = await createRequest();
  const late = secretOf(authority.invite("node", { validForMs: 1_000, addresses: ["127.0.0.1:1"] }).code);
  vi.useFakeTimers({ now: Date.now() + 2_000, toFake: ["Date"] });
  await expect(authority.admit({ secret: late, request, nodeId: "late", name: "late" })).rejects.toThrow(/expired/);
  await expect(authority.admit({ secret: "guessed", request, nodeId: "x", name: "x" })).rejects.toThrow(/unknown/);
  await expect(authority.admit({ secret: "../../state", request, nodeId: "x", name: "x" })).rejects.toThrow(/unknown/);
});

test("nobody is admitted as somebody else, or under a name that is a path", async () => {
  const { request } = await createRequest();
  await expect(authority.admit({ secret: invited(), request, nodeId: "first-id", name: "x" })).rejects.toThrow(/is a member already/);
  for (const name of ["../x", "a b", "", "x".repeat(65), "a,DNS:evil"])
    await expect(authority.admit({ secret: invited(), request, nodeId: "n", name })).rejects.toThrow(/cannot be/);
  await expect(authority.admit({ secret: invited(), request: Buffer.from("x"), nodeId: "n", name: "n" })).rejects.toThrow(/request/);
});

test("who was put out is refused by everyone who has the list, may join again, and nobody can make such a list", async () => {
  const { der, key, certificate } = await admitted("second-id");
  const other = await admitted("third-id");
  storeIdentity(join(folder, "third"), { ...other, ca: trust.own.ca });
  const third = Trust.open(join(folder, "third")) as Trust;
  const { revocations } = authority.revoke("second-id", { current: trust.revocations, by: "user:ada" });
  const heard: number[] = [];
  third.on("revoked", ({ version }) => heard.push(version));
  expect(third.recognise(der).id).toBe("second-id");
  expect(third.adopt(revocations.wire)).toBe(true);
  expect(third.adopt(revocations.wire)).toBe(false);
  expect(heard).toEqual([1]);
  expect(() => third.recognise(der)).toThrow(/put out/);
  // It is still known after a restart.
  expect(() => (Trust.open(join(folder, "third")) as Trust).recognise(der)).toThrow(/put out/);
  const again = await admitted("second-id");
  expect(third.recognise(again.der).id).toBe("second-id");
  expect(() => third.recognise(der)).toThrow(/put out/);

  const content = Buffer.from(
    JSON.stringify({ fleet: authority.fleet, version: 99, revoked: [{ identity: "node/first-id", serial: 1e9 }] }),
  );
  expect(() => third.adopt({ content, signature: Buffer.alloc(70) })).toThrow(/not signed/);
  expect(() => third.adopt({ content, signature: revocations.wire.signature })).toThrow(/not signed/);
  // An older list does not bring anybody back.
  expect(third.adopt(Revocations.none(authority.fleet).wire)).toBe(false);
  expect(() => Trust.open(join(folder, "nobody"))).not.toThrow();
  expect(key + certificate).toContain("PRIVATE KEY");
});

test("an authority goes on where it was after a restart, and never gives a serial number twice", async () => {
  const before = await admitted("second-id");
  authority = Authority.open(join(folder, "first")) as Authority;
  const after = await admitted("third-id");
  expect(trust.recognise(after.der).serial).toBeGreaterThan(trust.recognise(before.der).serial);
  expect(authority.members().map(({ id }) => id)).toEqual(["first-id", "second-id", "third-id"]);
  await expect(createFleet(join(folder, "first"), { role: "node", id: "x", name: "x" })).rejects.toThrow(/belongs to a fleet already/);
});

test("a join code is what it was, or nothing", () => {
  const code = { addresses: ["10.0.0.5:7070", "[::1]:7070"], fingerprint: Buffer.alloc(32, 7), secret: "s" };
  expect(parseJoinCode(` ${formatJoinCode(code)}\n`)).toEqual(code);
  for (const text of ["", "scout1-", "scout1-e30", formatJoinCode(code).slice(0, 60), formatJoinCode({ ...code, addresses: [] })])
    expect(() => parseJoinCode(text)).toThrow(/no join code/);
  expect(identityUri({ fleet: "f", role: "node", id: "n" })).toBe("spiffe://f/node/n");
});

test("the audit log shows when a line was changed, taken out or put in, and is not filled by somebody who tries again and again", () => {
  const path = join(folder, "audit.log");
  const log = new AuditLog(path);
  log.write({ who: "a", what: "invite", outcome: "done" });
  for (let at = 0; at < 1_000; at++) log.write({ who: `10.0.0.9:${at}`, what: "/x", outcome: "refused", details: "no" });
  new AuditLog(path).write({ who: "b", what: "revoke", outcome: "done" });
  log.write({ who: "c", what: "revoke", outcome: "done" });
  const text = readFileSync(path, "utf8");
  const lines = text.trimEnd().split("\n");
  expect(lines.length).toBe(4);
  expect(brokenLine(text)).toBe(null);
  expect(brokenLine(text.replace("revoke", "invite"))).toBe(4);
  expect(brokenLine([...lines.slice(0, 1), ...lines.slice(2)].join("\n"))).toBe(2);
  log.write({ who: "10.0.0.9:1", what: "/x", outcome: "refused", details: "no" }, Date.now() + 20_000);
  expect(readFileSync(path, "utf8")).toMatch(/"repeated":999/);
});

test("a node that was invited to a scope is limited to it, also by every certificate it gets later", async () => {
  const secret = secretOf(authority.invite("node", { addresses: ["127.0.0.1:1"], scope: "team-5454" }).code);
  const { request } = await createRequest();
  const { certificate, identity } = await authority.admit({ secret, request, nodeId: "laptop-id", name: "laptop" });
  expect(trust.recognise(new X509Certificate(certificate).raw)).toMatchObject({ role: "node", id: "laptop-id", scope: "team-5454" });
  const later = await authority.renew(identity, (await createRequest()).request);
  expect(trust.recognise(new X509Certificate(later.certificate).raw).scope).toBe("team-5454");
  expect(authority.members().find(({ id }) => id === "laptop-id")).toMatchObject({ scope: "team-5454" });
  expect(trust.recognise((await admitted("second-id")).der).scope).toBe(null);
  expect(() => authority.invite("operator", { addresses: ["127.0.0.1:1"], scope: "team-5454" })).toThrow(/cannot be limited/);
  expect(() => authority.invite("node", { addresses: ["127.0.0.1:1"], scope: "a/b" })).toThrow(/cannot be/);
});
