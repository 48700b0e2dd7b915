import { readFileSync } from "node:fs";
import { connect, type TLSSocket } from "node:tls";
import { join } from "node:path";
import { connectPeer } from "@scoutsync/protocol";
import { temporaryFolder } from "@scoutsync/testkit";
import { createFleet, dialAs, storeIdentity, Trust } from "@scoutsync/trust";
import { expect, onTestFinished, test } from "vitest";
import { eventually, startNode } from "./nodes.ts";

const MOST_STRANGERS = 200;
const MOST_PER_MEMBER = 100;

test("who opens connection after connection is cut off at a number, and members are served meanwhile", { timeout: 360_000 }, async () => {
  const folder = temporaryFolder("limits");
  onTestFinished(() => folder.remove());
  const data = join(folder.path, "a");
  const authority = await createFleet(data, { role: "node", id: "id-of-a", name: "a" });
  const a = await startNode("a", { dataDirectory: data });
  const admit = async (name: string) => {
    const { key, pem, ca } = await authority.issueHere({ fleet: authority.fleet, role: "node", id: name, name });
    storeIdentity(join(folder.path, name), { key, certificate: pem, ca });
    return join(folder.path, name);
  };
  const [host = "", port = ""] = a.address.split(":");
  const open = new Set<TLSSocket>();
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
  });
  const dial = (pem: string | undefined) =>
    new Promise<void>((resolve) => {
      const own = pem === undefined ? {} : { key: pem, cert: pem };
      const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ["h2"], ...own });
      // Unread bytes would keep the end from being seen.
      socket.once("secureConnect", () => {
        open.add(socket.resume());
        resolve();
      });
      socket.once("close", () => {
        open.delete(socket);
        resolve();
      });
      socket.on("error", () => {});
    });
  const dialMany = async (count: number, pem?: string) => {
    for (let at = 0; at < count; at += 20) await Promise.all(Array.from({ length: 20 }, () => dial(pem)));
  };
  const member = connectPeer(a.address, undefined, dialAs(Trust.open(await admit("member"))!));
  onTestFinished(() => member.close());

  await dialMany(MOST_STRANGERS + 60);
  await eventually("strangers beyond the number are cut", () => open.size <= MOST_STRANGERS, 30_000);
  // Nobody was cut who had come before.
  expect(open.size).toBe(MOST_STRANGERS);
  expect((await member.ping()).name).toBe("a");
  for (const socket of open) socket.destroy();
  await eventually("they are gone", () => open.size === 0, 30_000);

  const greedy = readFileSync(join(await admit("greedy"), "fleet", "identity.pem"), "utf8");
  await dialMany(MOST_PER_MEMBER + 40, greedy);
  await eventually("connections of one member beyond the number are cut", () => open.size <= MOST_PER_MEMBER, 30_000);
  expect(open.size).toBe(MOST_PER_MEMBER);
  expect((await member.ping()).name).toBe("a");
});
