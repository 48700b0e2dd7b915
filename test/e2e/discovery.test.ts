import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createLogger } from "@scoutsync/runtime";
import { boundOf, createDatabase, Fleet, ownPort, scoutsync, select, selectOne, startWriter, until, type Writer } from "@scoutsync/testkit";
import { Neighbourhood } from "@scoutsync/discovery";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const LOOPBACK = "127.0.0.1";
const SCHEMA = "CREATE TABLE note(id TEXT PRIMARY KEY, body TEXT)";

/** A datagram to the group of multicast DNS comes back over the loopback interface. */
function carriesMulticast(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: "udp4", reuseAddr: true });
    const end = (carries: boolean) => {
      clearTimeout(timer);
      socket.close();
      resolve(carries);
    };
    const timer = setTimeout(end, 2_000, false);
    socket.once("error", () => end(false)).once("message", () => end(true));
    socket.bind(0, () => {
      try {
        socket.addMembership("224.0.0.251", LOOPBACK);
        socket.setMulticastInterface(LOOPBACK);
        socket.send("?", socket.address().port, "224.0.0.251");
      } catch {
        end(false);
      }
    });
  });
}

const carries = await carriesMulticast();

describe.skipIf(!carries)("on a network without names (skipped where loopback carries no multicast)", () => {
  let fleet: Fleet;
  let writer: Writer;
  let env: Record<string, string>;
  beforeEach(() => {
    fleet = new Fleet("discovery");
    writer = startWriter();
    env = { XDG_CONFIG_HOME: fleet.path("home", "config") };
  });
  afterEach(async () => {
    await writer.stop();
    await fleet.stop();
  });

  const run = async (...args: string[]) => {
    const done = await scoutsync([...args, "--json"], { env });
    expect(done.code, `${args.join(" ")}: ${done.stderr}`).toBe(0);
    return done.json<Record<string, string>>();
  };
  const database = (name: string) => createDatabase(fleet.path(name, "app.db"), SCHEMA);
  const write = (path: string, id: string) => writer.write({ path, statements: [["INSERT INTO note VALUES (?, 'written')", [id]]] });
  const has = (path: string, id: string) => selectOne(path, `SELECT count(*) FROM note WHERE id = '${id}'`) === 1n;

  test("nodes find their coordinator again after it has moved; who has no certificate, or lies, is only listed", async () => {
    const { url } = await fleet.privateRedis();
    const registry = fleet.path("coordinator", "registry");
    const { data = "" } = await run("init", "--name", "hub", "--data", registry);
    const start = () =>
      fleet.service(
        ["coordinator", "--listen", `${LOOPBACK}:0`, "--http", `${LOOPBACK}:0`, "--redis", url, "--data", registry, "--discover", LOOPBACK],
        "coordinator",
      );
    let coordinator = await start();
    const paths: Record<string, string> = { pits: database("pits"), stands: database("stands"), stranger: database("stranger") };
    for (const name of ["pits", "stands"]) {
      const { code = "" } = await run("invite", "--coordinator", coordinator.ready.listen);
      await fleet.node({ name, databases: { app: paths[name] ?? "" }, flags: ["--join", code, "--discover", LOOPBACK] });
    }
    await write(paths["pits"] ?? "", "before");
    await until(() => has(paths["stands"] ?? "", "before"), { what: "the first note on the other node" });

    // A node of no fleet that listens for others, and one that says to be this fleet's coordinator there.
    const stranger = await fleet.node({ name: "stranger", databases: { app: paths["stranger"] ?? "" }, flags: ["--discover", LOOPBACK] });
    const { fleet: id } = JSON.parse(readFileSync(`${data}/authority/state.json`, "utf8")) as { fleet: string };
    const liar = new Neighbourhood({
      presence: { role: "coordinator", id: "liar", name: "liar", port: Number(stranger.address.split(":")[1]), fleet: id },
      interface: LOOPBACK,
      logger: createLogger("liar", "silent"),
      onFound: () => {},
    });
    try {
      const { listen } = coordinator.ready;
      await coordinator.stop();
      await write(paths["pits"] ?? "", "meanwhile");
      coordinator = await start();
      expect(coordinator.ready.listen).not.toBe(listen);
      await until(() => has(paths["stands"] ?? "", "meanwhile"), {
        what: "the note by way of where the coordinator is now",
        withinMs: 90_000,
      });
      env["SCOUTSYNC_COORDINATOR"] = coordinator.ready.listen;
      const found = async () => (await run("nodes", "found")) as unknown as { name: string; advice: string }[];
      const isStranger = ({ name, advice }: { name: string; advice: string }) =>
        name === "stranger" && advice.includes("no certificate of this fleet");
      await until(async () => (await found()).some(isStranger), { what: "the stranger being listed", withinMs: 60_000, everyMs: 1_000 });
      // The same over the coordinator's operations, with who is known already and when each was heard.
      const listed = async () => {
        const { discovered } = (await run("api", "listFoundNodes")) as unknown as {
          discovered: { name: string; address: string; port: number; fleet_id?: string; seen_at: string; known: boolean }[];
        };
        const heard = discovered
          .filter(({ name, fleet_id }) => fleet_id === id || name === "stranger")
          .toSorted((a, b) => a.name.localeCompare(b.name));
        return heard.length >= 3 && heard;
      };
      // This coordinator has just begun to listen: it hears of one after the other.
      const own = await until(listed, { what: "all three being heard", everyMs: 1_000 });
      expect(own.map(({ name, known, fleet_id }) => [name, known, fleet_id])).toEqual([
        ["pits", true, id],
        ["stands", true, id],
        ["stranger", false, undefined],
      ]);
      for (const { address, port, seen_at } of own) {
        expect(address).toBe(`${LOOPBACK}:${port}`);
        expect(Date.now() - Date.parse(seen_at)).toBeLessThan(boundOf(60_000));
      }
      const { nodes } = (await run("status")) as unknown as { nodes: { name: string }[] };
      expect(nodes.map(({ name }) => name).toSorted((a, b) => a.localeCompare(b))).toEqual(["pits", "stands"]);
      expect(select(paths["stranger"] ?? "", "SELECT * FROM note")).toEqual([]);
    } finally {
      await liar.stop();
    }
  });

  test("nodes of a fleet without a coordinator find each other again at other ports", async () => {
    const paths: Record<string, string> = { first: database("first"), second: database("second") };
    await run("init", "--role", "node", "--name", "first", "--data", fleet.path("first", "node-data"));
    const plan = (name: string, listen: string, flags: string[]) => ({
      name,
      listen,
      databases: { app: paths[name] ?? "" },
      flags: [...flags, "--discover", LOOPBACK],
    });
    const first = await fleet.node(plan("first", `${LOOPBACK}:0`, []));
    const { code = "" } = await run("invite", "--data", fleet.path("first", "node-data"));
    await fleet.node(plan("second", `${LOOPBACK}:0`, ["--join", code]));
    await write(paths["first"] ?? "", "before");
    await until(() => has(paths["second"] ?? "", "before"), { what: "the first note on the other node", withinMs: 60_000 });
    await first.stop();
    await write(paths["first"] ?? "", "meanwhile");
    await fleet.node(plan("first", `${LOOPBACK}:${await ownPort()}`, []));
    await until(() => has(paths["second"] ?? "", "meanwhile"), { what: "the note from where the node is now", withinMs: 60_000 });
  });
});
