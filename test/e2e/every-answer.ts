import type { Client } from "@grpc/grpc-js";
import { connectPeer, FleetService, SyncNodeService } from "@scoutsync/protocol";
import { boundOf } from "@scoutsync/testkit";
import { dialAs, Trust } from "@scoutsync/trust";

/** A call of any service, as the generated code describes it. */
interface Definition {
  path: string;
  responseStream: boolean;
  requestDeserialize: (bytes: Buffer) => object;
  requestSerialize: (value: never) => Buffer;
  responseDeserialize: (bytes: Buffer) => unknown;
}

/** A test of the node says that these are what it serves. */
const CALLS: readonly Definition[] = [SyncNodeService, FleetService].flatMap(
  (service) => Object.values(service) as unknown as Definition[],
);
/** What differs from call to call, and says nothing of anybody: times, and the hash of a frame in which one is. */
const TIMES = new Set(["time", "timeUs", "receivedUs", "sentUs", "atUs", "frameSha256", "date"]);
/** A stream that does not end by itself is cut; none of those that are asked is one. */
const CUT_MS = boundOf(10_000);
/** These are there to become a member, where wrong codes are counted, and to hear who is none any more, for as long as it lasts. */
const LEFT_OUT = new Set(["Join", "Renew", "ShareRevocations"]);

/** Rows, and files of another team, that whoever asks has heard of. */
export interface Heard {
  keys: readonly string[];
  paths: readonly string[];
}

/**
 * What a node's certificate gets by every call that there is, with questions about these rows and paths: texts of messages,
 * and of errors with all that comes with them. Times are left out. Some calls are not only questions: `isAsked` leaves them out.
 */
export async function answersOf(
  address: string,
  identity: string,
  { keys, paths }: Heard,
  isAsked: (name: string) => boolean = () => true,
): Promise<{ answers: string[]; refused: number }> {
  const peer = connectPeer(address, undefined, dialAs(Trust.open(identity) as Trust));
  const answers: string[] = [];
  let refused = 0;
  try {
    for (const call of CALLS) {
      const name = call.path.split("/").at(-1) ?? "";
      if (LEFT_OUT.has(name) || !isAsked(name)) continue;
      for (const question of questions(call, name, keys, paths)) {
        const answer = await ask(peer.client.channel, call, question);
        if (answer.some((line) => line.includes("PERMISSION_DENIED"))) refused++;
        answers.push(...answer.map((line) => `${call.path}: ${line}`));
      }
    }
  } finally {
    peer.close();
  }
  return { answers, refused };
}

/** Requests with whatever fields a call has for a database, a table, a row, a root and a path. */
function questions(call: Definition, name: string, keys: readonly string[], paths: readonly string[]): Buffer[] {
  const empty = call.requestDeserialize(Buffer.alloc(0));
  const of = (values: Record<string, unknown>) => {
    const known = Object.fromEntries(Object.entries(values).filter(([field]) => field in empty));
    return call.requestSerialize({ ...empty, ...known } as never);
  };
  const where = { database: "main", root: "uploads" };
  const asked = [of({}), of({ ...where, readable: true })];
  // Whatever else can be asked for: deep, with the parts of scopes, and the like.
  for (const [field, value] of Object.entries(empty)) {
    if (value === false && !["follow", "dryRun"].includes(field)) asked.push(of({ ...where, [field]: true }));
  }
  if (name === "Ping") asked.push(of({ withScopes: true }));
  if (name === "GetChanges") asked.push(of({ ...where, countOnly: true }));
  if (name === "Digest") for (const table of ["scouting", "label", "match", "account"]) asked.push(of({ ...where, table, deep: true }));
  if ("key" in empty) for (const key of keys) asked.push(of({ ...where, table: "scouting", key }));
  if ("path" in empty) for (const path of paths) asked.push(of({ ...where, path }));
  return asked;
}

function ask(client: Client, { path, responseStream, responseDeserialize }: Definition, question: Buffer): Promise<string[]> {
  const asIs = (bytes: Buffer) => bytes;
  const text = (bytes: Buffer) => print(responseDeserialize(bytes));
  return new Promise((resolve) => {
    const said: string[] = [];
    const fail = (error: { code?: number; message: string; metadata?: { toJSON(): unknown } }) =>
      void said.push(`${error.message} ${print(error.metadata?.toJSON() ?? {})}`);
    if (!responseStream) {
      client.makeUnaryRequest(path, asIs, asIs, question, (error, bytes) => {
        if (error) fail(error);
        else if (bytes) said.push(text(bytes));
        resolve(said);
      });
      return;
    }
    const stream = client.makeServerStreamRequest(path, asIs, asIs, question);
    const cut = setTimeout(() => stream.cancel(), CUT_MS);
    stream.on("data", (bytes: Buffer) => said.push(text(bytes)));
    stream.on("error", (error) => {
      fail(error);
      clearTimeout(cut);
      resolve(said);
    });
    stream.on("end", () => {
      clearTimeout(cut);
      resolve(said);
    });
  });
}

/** As JSON, bytes as the text in them. */
function print(value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, field, one: unknown) {
    if (TIMES.has(field)) return undefined;
    if (typeof one === "bigint") return String(one);
    // A Buffer has become a list of numbers by now, in which nobody finds a text.
    const held = this[field];
    return held instanceof Uint8Array ? Buffer.from(held).toString("latin1") : one;
  });
}
