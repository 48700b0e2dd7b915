import { createHash, randomBytes } from "node:crypto";
import { formatVector, join, parseVector, SyncError, type VersionVector } from "@scoutsync/core";
import {
  ChangeCount,
  DatabaseStatus,
  GetChangesResponse,
  HeartbeatRequest,
  PingResponse,
  RegisterRequest,
  SyncNodeService,
  SyncResult,
  type ResolveReviewRequest,
  type Review,
  toStatus,
  unary,
  type CoordinatorService,
  type ServiceClient,
  type SyncNodeServer,
} from "@scoutsync/protocol";
import { boundOf, ownPort } from "@scoutsync/testkit";
import { Server, ServerCredentials } from "@grpc/grpc-js";

/** Nodes that are equal print the same, and hashing thirty kilobytes a thousand times is not what is tested. */
const printed = new WeakMap<VersionVector, { vector: string; digest: string }>();

function print(vector: VersionVector): { vector: string; digest: string } {
  let known = printed.get(vector);
  if (known === undefined) {
    const text = formatVector(vector);
    known = { vector: text, digest: createHash("sha256").update(text).digest("hex").slice(0, 32) };
    printed.set(vector, known);
  }
  return known;
}

const byAddress = new Map<string, ScriptedNode>();

/** How long a test waits for an answer of the coordinator. */
export const PATIENT = { deadlineMs: boundOf(30_000) };

/**
 * A SyncNode served over real gRPC whose databases are only vectors in memory. It watches for what must never happen:
 * two sessions at once on one node, on either end.
 */
export class ScriptedNode {
  readonly name: string;
  readonly nodeId = randomBytes(8).toString("hex");
  readonly vectors = new Map<string, VersionVector>();
  address = "";
  /** How long a session takes. */
  sessionMs = 30;
  /** Thrown by the next sessions, one after the other. */
  failures: SyncError[] = [];
  /** Its sessions report progress and never end. */
  endless = false;
  /** Gives nothing it holds to anybody. */
  receiveOnly = false;
  /** Answers Ping never. */
  frozen = false;
  /** What it says instead of what is so. */
  lie: ((truth: PingResponse) => PingResponse) | null = null;
  /** What it says it counted, and how a session ended, instead of what is so. */
  countLie: ((truth: ChangeCount) => ChangeCount) | null = null;
  resultLie: ((truth: SyncResult) => SyncResult) | null = null;
  /** What it lists for people. */
  reviews: Review[] = [];
  /** Free and whole bytes of its disk. */
  disk = { freeBytes: 60n, totalBytes: 100n };
  /** Rows it says it keeps out of its tables. */
  parked = 0;
  /** How far its clock is ahead. */
  clockOffsetMs = 0;
  /** Holds other rows than others at the same vector. */
  diverged = false;
  /** Decisions that reached it. */
  decisions: ResolveReviewRequest[] = [];
  pings = 0;
  /** When it was asked how it is, Unix milliseconds. */
  readonly pingedAt: number[] = [];
  counts = 0;
  sessions = 0;
  overlaps = 0;
  /** When a session that it was in, on either end, began; Unix milliseconds. */
  readonly begunAt: number[] = [];
  highestEpoch = 0n;
  run = randomBytes(4).toString("hex");
  readonly #origin = [...randomBytes(16)].map((byte) => "abcdefghijklmnopqrstuvwxyz234567"[byte % 32]).join("");
  #inSession = 0;
  /** Ends the session that a lease permitted, for a newer one. */
  #overtake: (() => void) | null = null;
  #finish: (() => void) | null = null;
  #server: Server | null = null;

  constructor(name: string, databases = ["main"]) {
    this.name = name;
    for (const database of databases) this.vectors.set(database, new Map());
  }

  write(changes: number, database = "main"): void {
    const vector = this.vectors.get(database) ?? new Map();
    this.vectors.set(database, new Map([...vector, [this.#origin, (vector.get(this.#origin) ?? 0) + changes]]));
  }

  get standing(): string {
    return [...this.vectors].map(([database, vector]) => `${database}=${print(vector).vector}`).join(" ");
  }

  get isUp(): boolean {
    return this.#server !== null;
  }

  async up(): Promise<this> {
    const server = new Server();
    server.addService(SyncNodeService, this.#calls() as SyncNodeServer);
    const wanted = this.address === "" ? `127.0.0.1:${await ownPort()}` : this.address;
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(wanted, ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    this.#server = server;
    this.address = `127.0.0.1:${port}`;
    this.run = randomBytes(4).toString("hex");
    byAddress.set(this.address, this);
    return this;
  }

  /** Ends the session that runs now at once, well. */
  finishNow(): void {
    this.#finish?.();
  }

  down(): void {
    this.#server?.forceShutdown();
    this.#server = null;
    this.#inSession = 0;
  }

  async register(coordinator: ServiceClient<CoordinatorService>): Promise<number> {
    const [host, port] = this.address.split(":");
    const { id } = await unary(
      coordinator,
      "register",
      RegisterRequest.fromPartial({
        nodeId: this.nodeId,
        name: this.name,
        host: host ?? "",
        port: Number(port),
        version: "0.1.0",
        databases: this.statuses(),
        run: this.run,
      }),
    );
    return Number(id);
  }

  async heartbeat(coordinator: ServiceClient<CoordinatorService>): Promise<void> {
    const { nodeId, run } = this;
    const request = HeartbeatRequest.fromPartial({ nodeId, run, databases: this.statuses(), timeUs: BigInt(Date.now() * 1_000) });
    await unary(coordinator, "heartbeat", request, PATIENT);
  }

  /** As a heartbeat that says what `lie` says. */
  async heartbeatLie(coordinator: ServiceClient<CoordinatorService>): Promise<void> {
    const { nodeId, run } = this;
    const { databases, files } = (this.lie ?? ((truth) => truth))(PingResponse.fromPartial({ nodeId, run, databases: this.statuses() }));
    const request = HeartbeatRequest.fromPartial({ nodeId, run, databases, files, timeUs: BigInt(Date.now() * 1_000) });
    await unary(coordinator, "heartbeat", request, PATIENT);
  }

  statuses(): DatabaseStatus[] {
    const parked = BigInt(this.parked);
    return [...this.vectors].map(([name, vector]) => DatabaseStatus.fromPartial({ name, ...print(vector), parked }));
  }

  /** Marks a session that this node takes part in; returns the function that ends it. */
  #enter(): () => void {
    this.#inSession++;
    this.begunAt.push(Date.now());
    if (this.#inSession > 1) this.overlaps++;
    return () => void (this.#inSession = Math.max(0, this.#inSession - 1));
  }

  #calls(): Partial<SyncNodeServer> {
    return {
      ping: (_call, callback) => {
        this.pings++;
        this.pingedAt.push(Date.now());
        if (this.frozen) return;
        const { name, nodeId, run } = this;
        const timeUs = BigInt(Date.now() + this.clockOffsetMs) * 1_000n;
        const truth = PingResponse.fromPartial({
          name,
          nodeId,
          run,
          version: "0.1.0",
          timeUs,
          databases: this.statuses(),
          disk: this.disk,
        });
        callback(null, this.lie === null ? truth : this.lie(truth));
      },
      verify: (call, callback) => {
        const peer = byAddress.get(call.request.peer);
        const databases = [...this.vectors].map(([name, vector]) => {
          const text = formatVector(vector);
          const peerVector = formatVector(peer?.vectors.get(name) ?? new Map());
          const equal = text === peerVector && !this.diverged;
          const differences = equal ? [] : [{ table: "note", key: "1", columns: ["text"] }];
          return { name, equal, differences, vector: text, peerVector, repaired: [], notCompared: [], keptBack: [] };
        });
        callback(null, { equal: databases.every(({ equal }) => equal), databases, files: [] });
      },
      digest: (_call, callback) => callback(null, { vector: "", entries: [], rows: [] }),
      listReviews: (_call, callback) => callback(null, { reviews: this.reviews }),
      resolveReview: (call, callback) => {
        this.decisions.push(call.request);
        const review = this.reviews.find((one) => one.id === call.request.id);
        callback(null, { review: review === undefined ? undefined : { ...review, resolved: true } });
      },
      getChanges: (call) => {
        this.counts++;
        const have = this.vectors.get(call.request.database) ?? new Map();
        const since = parseVector(call.request.since);
        let changes = 0;
        for (const [origin, sequence] of have) changes += Math.max(0, sequence - (since.get(origin) ?? 0));
        const oldestUs = changes === 0 ? 0n : BigInt(Date.now() - 5_000) * 1_000n;
        const count = ChangeCount.fromPartial({ changes: BigInt(changes), oldestUs, vector: print(have).vector });
        call.write(GetChangesResponse.fromPartial({ count: this.countLie === null ? count : this.countLie(count) }));
        call.end();
      },
      sync: (call) => {
        const { peer, epoch } = call.request;
        const fail = (error: SyncError) => void call.emit("error", toStatus(error));
        if (epoch < this.highestEpoch) {
          return fail(new SyncError({ code: "FENCED", message: "A newer session has taken over", action: "Stop." }));
        }
        this.highestEpoch = epoch;
        const scripted = this.failures.shift();
        if (scripted !== undefined) return fail(scripted);
        const other = byAddress.get(peer);
        if (other === undefined || other.#server === null) {
          return fail(new SyncError({ code: "PEER_UNREACHABLE", message: `${peer} is away`, action: "Start it." }));
        }
        this.#overtake?.();
        const leave = [this.#enter(), other.#enter()];
        this.sessions++;
        call.write({ kind: { $case: "progress", value: { database: "main", phase: "pull", done: 1n, total: 2n } } });
        const end = () => {
          clearTimeout(timer);
          clearInterval(words);
          for (const step of leave.splice(0)) step();
          this.#overtake = null;
          this.#finish = null;
        };
        const finish = () => {
          const result = exchange(this, other);
          end();
          call.write({ kind: { $case: "result", value: this.resultLie === null ? result : this.resultLie(result) } });
          call.end();
        };
        const timer = this.endless ? undefined : setTimeout(finish, this.sessionMs);
        const more = { kind: { $case: "progress" as const, value: { database: "main", phase: "pull", done: 1n, total: 2n } } };
        const words = this.endless ? setInterval(() => call.write(more), 100) : undefined;
        // As in a real node: what nobody waits for any more ends, without having brought anything.
        call.once("cancelled", () => {
          if (leave.length > 0) end();
        });
        this.#finish = finish;
        this.#overtake = () => {
          end();
          fail(new SyncError({ code: "FENCED", message: "A newer session has taken over", action: "Stop." }));
        };
      },
    };
  }
}

function exchange(node: ScriptedNode, peer: ScriptedNode): SyncResult {
  let sent = 0;
  let received = 0;
  for (const [database, mine] of node.vectors) {
    const theirs = peer.vectors.get(database);
    if (theirs === undefined) continue;
    const joined = join(mine, theirs);
    for (const [origin, sequence] of joined) {
      received += sequence - (mine.get(origin) ?? 0);
      sent += sequence - (theirs.get(origin) ?? 0);
    }
    if (!peer.receiveOnly) node.vectors.set(database, joined);
    if (!node.receiveOnly) peer.vectors.set(database, joined);
  }
  return SyncResult.fromPartial({
    success: true,
    verified: true,
    node: node.name,
    peer: peer.name,
    durationMs: BigInt(node.sessionMs),
    stats: {
      localChangesSent: BigInt(sent),
      remoteChangesReceived: BigInt(received),
      remoteChangesApplied: BigInt(received),
    },
  });
}
