import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Server } from "@grpc/grpc-js";
import { toPlainError, type FileEntry } from "@scoutsync/core";
import { FileRootEngine, Part, type FileRoot } from "@scoutsync/files";
import { connectPeer, syncNodeService, type PeerClient } from "@scoutsync/protocol";
import { createLogger } from "@scoutsync/runtime";
import { emptyStats, exchangeFiles, Rate, type FilePeer } from "@scoutsync/session";
import { seededRandom, temporaryFolder, type Random } from "@scoutsync/testkit";
import { ANYBODY } from "@scoutsync/trust";
import { BulkConnections } from "../src/bulk-connections.ts";
import type { NodeContext } from "../src/context.ts";
import { FileRoots } from "../src/files/file-roots.ts";
import { handlers } from "../src/handlers/index.ts";
import { FileCopy } from "../src/scopes/file-copies.ts";
import { acceptBulk, createGrpcServer, listenOn } from "../src/server.ts";

/** What each team has of the root, one after the other as a step draws. */
const SCOPES: Record<Team, string[][]> = {
  blue: [["blue/", "both/"], ["blue/"], ["blue/a/"], [], ["blue/", "both/", "spare/"]],
  red: [
    ["red/", "both/"],
    ["red/", "both/"],
    ["red/a/", "both/"],
  ],
};
const FOLDERS: Record<Team | "none", string[]> = { blue: ["blue", "blue/a"], red: ["red", "red/a"], none: ["private", "spare"] };
const NAMES = ["one", "two", "three"];

type Team = "blue" | "red";

interface Site {
  name: string;
  folder: string;
  root: FileRoot;
  engine: FileRootEngine;
}

interface Laptop extends Site {
  team: Team;
  /** Everything that its server sent it, as text. */
  heard: string[];
  /** Written here, and not yet taken by a session that went well: path and content. */
  unsent: Map<string, string>;
}

interface TeamServer {
  copy: Site;
  files: FileCopy;
  roots: FileRoots;
  server: Server;
  address: string;
  peer: PeerClient;
}

/**
 * Two teams with laptops, a server with one root, and persons everywhere who write, delete and move files while the scopes
 * are changed. What was written, and who may know of it, is in a ledger of its own; what a laptop keeps or was sent is searched for
 * everything else.
 */
export class ScopeFilesSimulation {
  readonly #random: Random;
  readonly #folder = temporaryFolder("scope-files");
  readonly #steps: number;
  /** Every content ever written, and the teams that may know of it. */
  readonly #allowed = new Map<string, Set<Team>>();
  /** What has to be at the server in the end: path and the contents that any writer gave it, until somebody deletes it. */
  readonly #present = new Map<string, Set<string>>();
  /** What people have on laptops beside what the scope shows: it stays there, and nobody is told. */
  #astray: { site: Site; path: string; content: string }[] = [];
  /** Contents that a person took away somewhere. */
  readonly #destroyed = new Set<string>();
  /** Hashes that an attacker of the team has told others of it. */
  readonly #guessed = { blue: new Set<string>(), red: new Set<string>() };
  readonly #problems: string[] = [];
  readonly #servers = {} as Record<Team, TeamServer>;
  #main!: Site;
  #laptops: Laptop[] = [];
  #serial = 0;
  readonly #trace: boolean;

  constructor(seed: number, { steps = 50, trace = false }: { steps?: number; trace?: boolean } = {}) {
    this.#random = seededRandom(seed);
    this.#steps = steps;
    this.#trace = trace;
  }

  async run(): Promise<string[]> {
    try {
      this.#main = await this.#site("main");
      for (const team of ["blue", "red"] as const) this.#servers[team] = await this.#serve(team);
      for (const [name, team] of [
        ["blue-1", "blue"],
        ["blue-2", "blue"],
        ["red-1", "red"],
      ] as const)
        this.#laptops.push({ ...(await this.#site(name)), team, heard: [], unsent: new Map() });
      for (let step = 0; step < this.#steps; step++) await this.#step();
      await this.#finish();
    } finally {
      for (const { peer, server } of Object.values(this.#servers)) {
        peer.close();
        server.forceShutdown();
      }
      for (const { engine } of [this.#main, ...this.#laptops, ...Object.values(this.#servers).map(({ copy }) => copy)])
        await engine.close();
      this.#folder.remove();
    }
    return this.#problems;
  }

  async #site(name: string): Promise<Site> {
    const folder = join(this.#folder.path, name);
    const path = join(folder, "root");
    mkdirSync(path, { recursive: true });
    const engine = await FileRootEngine.open(
      {
        name: "uploads",
        path,
        manifestPath: join(folder, "files.db"),
        nodeName: name,
        databases: [],
        exclude: [],
        limits: { minFreeBytes: 0 },
      },
      { sightingGapMs: 1 },
    );
    return { name, folder, engine, root: rootOf(engine, path) };
  }

  async #serve(team: Team): Promise<TeamServer> {
    const copy = await this.#site(`copy-${team}`);
    const roots = new FileRoots("server");
    const server = createGrpcServer();
    const bulkConnections = new BulkConnections(() => ANYBODY);
    acceptBulk(server, (socket) => bulkConnections.accept(socket));
    const context = {
      name: "server",
      files: roots,
      bulkConnections,
      receiveOnly: false,
      limits: { files: new Rate() },
      logger: createLogger("server", "silent"),
      speakerOf: () => ANYBODY,
      stopping: new AbortController().signal,
    };
    server.addService(syncNodeService, handlers(context as unknown as NodeContext));
    const address = await listenOn(server, "127.0.0.1:0");
    const files = new FileCopy(team, copy.root, this.#main.root, new Part(SCOPES[team][0] ?? []));
    const one = { copy, files, roots, server, address, peer: connectPeer(address) };
    await this.#define(team, one, 0);
    return one;
  }

  /** The server is started again with another definition of the scope. */
  async #define(team: Team, one: TeamServer, at: number): Promise<void> {
    const files = new FileCopy(team, one.copy.root, this.#main.root, new Part(SCOPES[team][at] ?? []));
    one.files = files;
    await files.prepare();
    one.roots.add(one.copy.root, async () => {
      await this.#main.root.scan({ confirm: true });
      await files.carry();
    });
  }

  async #step(): Promise<void> {
    const draw = this.#random.below(100);
    const laptop = this.#random.pick(this.#laptops);
    if (draw < 25) await this.#write(laptop);
    else if (draw < 40) await this.#write(this.#main);
    else if (draw < 47) await this.#delete(this.#random.next() < 0.5 ? laptop : this.#main);
    else if (draw < 53) await this.#give();
    else if (draw < 80) await this.#sync(laptop);
    else if (draw < 88) await this.#servers[laptop.team].files.carry();
    else if (draw < 95) {
      const team = this.#random.next() < 0.7 ? "blue" : "red";
      const at = this.#random.below(SCOPES[team].length);
      this.#say(`scope ${team} is ${JSON.stringify(SCOPES[team][at])}`);
      await this.#define(team, this.#servers[team], at);
    } else await this.#attack(laptop);
  }

  #say(text: string): void {
    if (this.#trace) console.log(text);
  }

  /** Somebody writes a file: on a laptop mostly what the team may, and now and then elsewhere, which is to stay there. */
  async #write(site: Site | Laptop): Promise<void> {
    const team = "team" in site ? site.team : null;
    const own = team === null ? [...Object.values(FOLDERS).flat(), "both"] : [...FOLDERS[team], "both"];
    const astray = team !== null && this.#random.next() < 0.1;
    const folder = astray ? "mine" : this.#random.pick(own);
    const path = `${folder}/${this.#random.pick(NAMES)}${astray ? `-${site.name}` : ""}`;
    const teams = (["blue", "red"] as const).filter((one) => path.startsWith(`${one}/`) || path.startsWith("both/") || one === team);
    // The spare folder is blue's for a while: it may know of what is there.
    if (path.startsWith("spare/")) teams.push("blue");
    const content = this.#content(teams, this.#random.next() < 0.1 ? 90_000 : 40);
    this.#put(site, path, content);
    await site.root.scan({ confirm: true });
    if (astray) {
      this.#astray.push({ site, path, content });
      return;
    }
    if ("team" in site) site.unsent.set(path, content);
    else this.#expect(path, content);
    this.#say(`${site.name} writes ${path}: ${content.slice(0, 20)}`);
  }

  #content(teams: readonly Team[], size: number, word = "secret"): string {
    const content = `${word}-${++this.#serial}-of-${teams.join("-")}.${"x".repeat(this.#random.below(size))}`;
    this.#allowed.set(content, new Set(teams));
    return content;
  }

  #put({ folder }: Site, path: string, content: string): void {
    this.#destroy(join(folder, "root", path));
    this.#astray = this.#astray.filter((one) => one.site.folder !== folder || one.path !== path);
    mkdirSync(join(folder, "root", dirname(path)), { recursive: true });
    writeFileSync(join(folder, "root", path), content);
  }

  /** What a person overwrites or deletes may have been the only one. */
  #destroy(path: string): void {
    if (existsSync(path)) this.#destroyed.add(readFileSync(path, "utf8"));
  }

  #expect(path: string, content: string): void {
    this.#present.set(path, (this.#present.get(path) ?? new Set()).add(content));
  }

  async #delete(site: Site | Laptop): Promise<void> {
    const [path] = this.#shuffled(filesBelow(join(site.folder, "root")));
    if (path === undefined || path.startsWith("mine/")) return;
    this.#say(`${site.name} deletes ${path}`);
    this.#destroy(join(site.folder, "root", path));
    rmSync(join(site.folder, "root", path));
    await site.root.scan({ confirm: true });
    // Wherever it had not come to by then it may live on, or not.
    this.#present.delete(path);
    for (const one of this.#laptops) one.unsent.delete(path);
  }

  /** At the server a file of nobody, or of a team, is given to a team. */
  async #give(): Promise<void> {
    const from = this.#shuffled(filesBelow(join(this.#main.folder, "root"))).find((path) => !path.startsWith("both/"));
    if (from === undefined) return;
    const team = this.#random.pick(["blue", "red"] as const);
    const content = readFileSync(join(this.#main.folder, "root", from), "utf8");
    const to = `${this.#random.pick(FOLDERS[team])}/given-${++this.#serial}`;
    this.#say(`the server moves ${from} to ${to}`);
    this.#allowed.get(content)?.add(team);
    mkdirSync(join(this.#main.folder, "root", dirname(to)), { recursive: true });
    renameSync(join(this.#main.folder, "root", from), join(this.#main.folder, "root", to));
    await this.#main.root.scan({ confirm: true });
    this.#present.delete(from);
    for (const one of this.#laptops) one.unsent.delete(from);
    this.#expect(to, content);
  }

  async #sync(laptop: Laptop): Promise<boolean> {
    const { peer } = this.#servers[laptop.team];
    this.#say(`${laptop.name} syncs`);
    const exchange = {
      root: laptop.root,
      peer: this.#heardBy(laptop, peer),
      nodeName: laptop.name,
      limited: true,
      asKnown: false,
      rate: new Rate(),
      stats: emptyStats(),
    };
    const { verified, refused } = await exchangeFiles(exchange, { pullOnly: false });
    for (const one of refused) if (!one.retry) this.#problems.push(`${laptop.name} was refused ${one.path} for good: ${one.message}`);
    if (refused.length > 0) return false;
    const { part } = this.#servers[laptop.team].files;
    for (const [path, content] of laptop.unsent) {
      if (part.has(path)) this.#expect(path, content);
      if (part.has(path)) laptop.unsent.delete(path);
    }
    return verified;
  }

  /** Keeps what comes of lists, bytes and answers. */
  #heardBy(laptop: Laptop, peer: PeerClient): FilePeer {
    const note = (said: unknown) =>
      laptop.heard.push(JSON.stringify(said, (_, value: unknown) => (value instanceof Map ? [...value] : value)));
    return {
      address: peer.address,
      async *fileList(request, signal) {
        for await (const page of peer.fileList(request, signal)) {
          note(page);
          yield page;
        }
      },
      async *fileBytes(root, parts, signal) {
        for await (const piece of peer.fileBytes(root, parts, signal)) {
          laptop.heard.push("bytes" in piece ? Buffer.from(piece.bytes).toString("latin1") : piece.missing);
          yield piece;
        }
      },
      fileRecipe: (root, hash, signal) => peer.fileRecipe(root, hash, signal),
      async openPut(opening, signal) {
        const put = await peer.openPut(opening, signal);
        note(put.ready);
        return put;
      },
    };
  }

  /** A laptop whose owner knows hashes, paths and names of the other team, and asks for all of it in every way there is. */
  async #attack(laptop: Laptop): Promise<void> {
    const foreign = [...this.#allowed].filter(([, teams]) => !teams.has(laptop.team)).map(([content]) => content);
    const content = this.#shuffled(foreign)[0];
    if (content === undefined) return;
    const hash = sha256(content);
    const { peer } = this.#servers[laptop.team];
    const size = content.length;
    this.#guessed[laptop.team].add(hash);
    const heard: string[] = [];
    const tell = (error: unknown) => heard.push(toPlainError(error).message.replaceAll(hash, "").replaceAll(stolen, ""));
    const others = laptop.team === "blue" ? "red" : "blue";
    const stolen = `${others}/${this.#random.pick(NAMES)}`;
    this.#say(`${laptop.name} attacks with ${content.slice(0, 20)} and ${stolen}`);
    for await (const piece of peer.fileBytes("uploads", [{ hash, offset: 0, length: 0 }]))
      heard.push(JSON.stringify(piece).replaceAll(hash, ""));
    await peer.fileRecipe("uploads", hash).catch(tell);
    const folder = this.#servers[laptop.team].files.part.prefixes.find((one) => one.startsWith(laptop.team)) ?? "none/";
    const serial = ++this.#serial;
    const nowUs = Date.now() * 1_000;
    const version = new Map([["thiefthiefthief2" as never, serial + 2_000_000_000]]);
    const basis: FileEntry = {
      path: "",
      kind: "file",
      hash,
      size,
      mode: 6,
      modifiedUs: nowUs,
      version,
      stampUs: nowUs,
      author: "thief",
      before: "",
      cause: "",
      losers: [],
    };
    const loser = {
      hash,
      size,
      author: "thief",
      stampUs: 1,
      sinceUs: 1,
      winner: hash,
      winnerAuthor: "thief",
      winnerStampUs: 2,
      resolved: false,
    };
    const mine = this.#content([laptop.team], 40, "bait");
    const bait = { ...basis, hash: sha256(mine), size: mine.length, before: hash, losers: [loser] };
    const offers: FileEntry[] = [
      { ...basis, path: stolen },
      { ...basis, path: stolen, kind: "gone", hash: "", size: 0 },
      { ...basis, path: others, kind: "gone", hash: "", size: 0 },
      { ...basis, path: `${folder}known-hash-${serial}` },
      { ...bait, path: `${folder}bait-${serial}` },
      { ...basis, path: `${folder}was-${serial}`, kind: "gone", hash: "", size: 0, before: hash },
    ];
    try {
      const put = await peer.openPut({
        root: "uploads",
        name: "thief",
        index: `thiefthiefth${String(serial)
          .padStart(4, "a")
          .replace(/[0-9]/g, (digit) => "bcdefghijk"[Number(digit)] ?? "")}`,
      });
      const wants = await put.offer(offers);
      for (const want of wants) if (want.hash === sha256(mine)) await put.bytes(want.hash, 0, Buffer.from(mine));
      const ack = await put.commit([hash]);
      const outside = ack.refused.filter(({ code }) => code === "FORBIDDEN").map(({ path }) => path);
      for (const path of [stolen, others]) if (!outside.includes(path)) this.#problems.push(`${laptop.name} could say what is at ${path}`);
      if (folder !== "none/" && !wants.some((want) => want.hash === hash))
        this.#problems.push(`the server did not ask ${laptop.name} for bytes that another team has: ${content.slice(0, 20)}`);
      put.cancel();
    } catch (error) {
      this.#problems.push(`an attack was not answered: ${toPlainError(error).message}`);
    }
    laptop.heard.push(...heard);
    await this.#servers[laptop.team].files.carry();
    // Somebody at the server brings back what was deleted there, and gives the team what it never had.
    const restored = await this.#main.engine.restore(`${folder}was-${serial}`, "").catch(() => null);
    if (restored?.hash === hash) this.#problems.push(`${laptop.name} had ${content.slice(0, 20)} restored under its own name`);
  }

  async #finish(): Promise<void> {
    for (const team of ["blue", "red"] as const) await this.#define(team, this.#servers[team], 0);
    for (let round = 0; round < 3; round++) for (const laptop of this.#laptops) await this.#sync(laptop);
    for (const { files } of Object.values(this.#servers)) await files.carry();
    for (const laptop of this.#laptops) {
      if (!(await this.#sync(laptop))) this.#problems.push(`${laptop.name} and its server do not agree`);
      const { part } = this.#servers[laptop.team].files;
      const expected = contentsOf(this.#main, part);
      const found = contentsOf(laptop, part);
      for (const path of new Set([...expected.keys(), ...found.keys()]))
        if (expected.get(path) !== found.get(path))
          this.#problems.push(
            `${laptop.name} has ${String(found.get(path)?.slice(0, 20))} at ${path}, the server ${String(expected.get(path)?.slice(0, 20))}`,
          );
      const { files } = this.#servers[laptop.team].copy.root.state;
      if (files !== expected.size) this.#problems.push(`${laptop.team} is told of ${files} files where it has ${expected.size}`);
      this.#search(laptop);
    }
    const main = contentsOf(this.#main, new Part([""]));
    for (const { site, path, content } of this.#astray)
      if (contentsOf(site, new Part([""])).get(path) !== content) this.#problems.push(`${path} of ${site.name} did not stay where it was`);
    for (const path of main.keys()) if (path.startsWith("mine/")) this.#problems.push(`the server has ${path}`);
    for (const [path] of this.#present) if (!main.has(path)) this.#problems.push(`${path} is gone, and nobody deleted it`);
    const kept = new Set(filesBelow(this.#folder.path).map((path) => readFileSync(join(this.#folder.path, path), "latin1")));
    for (const [content] of this.#allowed)
      if (!kept.has(content) && !this.#destroyed.has(content) && !content.startsWith("bait"))
        this.#problems.push(`${content.slice(0, 24)} is nowhere any more`);
  }

  /** Everything that a laptop keeps or was sent, for what its team may not know of. */
  #search(laptop: Laptop): void {
    const kept = filesBelow(laptop.folder).map((path) => `${path}\n${readFileSync(join(laptop.folder, path), "latin1")}`);
    const everything = [...kept, ...laptop.heard].join("\n");
    for (const [content, teams] of this.#allowed) {
      if (teams.has(laptop.team)) continue;
      const token = content.split(".")[0] ?? content;
      if (everything.includes(`${token}.`)) this.#problems.push(`${laptop.name} knows ${token}`);
      const hash = sha256(content);
      if (!this.#guessed[laptop.team].has(hash) && everything.includes(hash))
        this.#problems.push(`${laptop.name} knows the hash of ${token}`);
    }
    const others = laptop.team === "blue" ? "red" : "blue";
    if (new RegExp(`private/|${others}/`).test(everything)) this.#problems.push(`${laptop.name} knows paths of others`);
  }

  #shuffled<T>(all: T[]): T[] {
    const left = [...all];
    const drawn: T[] = [];
    while (left.length > 0) drawn.push(...left.splice(this.#random.below(left.length), 1));
    return drawn;
  }
}

/** An engine of this thread as what the rest of a node meets. */
/** An engine as a root of a node. */
export function rootOf(engine: FileRootEngine, path: string): FileRoot {
  const base = { name: "uploads", path, onChange: () => () => {} };
  return new Proxy(engine, {
    get(target, key) {
      if (key === "state") return target.state();
      if (key in base) return base[key as keyof typeof base];
      const value = target[key as keyof FileRootEngine] as unknown;
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  }) as unknown as FileRoot;
}

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(
    (path) => !(path.includes(".scoutsync-store/") && folder.endsWith("root")) && statSync(join(folder, path)).isFile(),
  );
}

function contentsOf({ folder }: Site, part: Part): Map<string, string> {
  const root = join(folder, "root");
  return new Map(
    filesBelow(root)
      .filter((path) => part.has(path))
      .map((path) => [path, readFileSync(join(root, path), "utf8")]),
  );
}

function sha256(content: string): string {
  return createHash("sha256").update(content).digest("hex");
}
