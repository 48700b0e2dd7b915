import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { givePiece, parseVector, SyncError, type ChangeBatch } from "@scoutsync/core";
import {
  AccessService,
  BatchAssembler,
  frameHead,
  FrameParser,
  CoordinatorService,
  FleetService,
  GetChangesResponse,
  PushChangesRequest,
  RevocationList,
  SyncNodeService,
  syncNodeService,
  toWireBatches,
} from "@scoutsync/protocol";
import { openReplicaPool, type Replica } from "@scoutsync/replica";
import { createDatabase } from "@scoutsync/testkit";
import {
  createFleet,
  createRequest,
  identityIn,
  issueCertificate,
  parseJoinCode,
  Revocations,
  Trust,
  type Authority,
} from "@scoutsync/trust";
import { BundleReader } from "../../packages/cli/src/bundle/reader.ts";
import { BundleWriter } from "../../packages/cli/src/bundle/writer.ts";
import { expectHolds, mutated } from "./budget.ts";

let folder: string;
let authority: Authority;
let trust: Trust;
/** Streams of batches with every kind of value, key and change in them. */
let streams: ChangeBatch[];
let target: Replica;
let stop: () => Promise<void>;

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT UNIQUE, mascot BLOB, score REAL);
  CREATE TABLE robot(team INTEGER REFERENCES team(id), number TEXT, note TEXT, PRIMARY KEY(team, number));
  CREATE TABLE log(text TEXT, at INTEGER);`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "scoutsync-fuzz-"));
  const data = join(folder, "authority");
  authority = await createFleet(data, { role: "node", id: "n1", name: "n1" });
  trust = Trust.open(data) as Trust;
  const pool = openReplicaPool({ threads: 1 });
  const open = (name: string) =>
    pool.open({
      name: "main",
      path: createDatabase(join(folder, `${name}.db`), SCHEMA),
      nodeName: name,
      nodeId: name,
      exclude: [],
      baseline: "shared",
      busyTimeoutMs: 2_000,
      pollIntervalMs: 1_000,
    });
  const source = await open("source");
  target = await open("target");
  streams = [];
  const take = async () => {
    await source.drain();
    for (const codecs of [["identity"], ["zstd"]] as const) {
      streams.push(await source.read({ from: new Map(), batchSize: 0, codecs: [...codecs], beyondDigest: Buffer.alloc(0) }));
    }
  };
  // The library that the replicas use: a second one in a process would drop the locks of the first.
  const writer = new Sqlite(source.path);
  writer.exec(`INSERT INTO team(name, mascot, score) VALUES('a', x'00ff', 1.5), ('b', NULL, -0.0), ('c', zeroblob(300), 9e99);
    INSERT INTO robot VALUES(1, 'one', 'first'), (2, 'two', NULL); INSERT INTO log VALUES('x', 1), ('x', 1), (NULL, -9223372036854775808);`);
  await take();
  writer.exec(
    "UPDATE team SET name = 'd', score = 2 WHERE id = 1; DELETE FROM robot WHERE team = 2; DELETE FROM log WHERE at = 1; UPDATE robot SET note = 'edited'",
  );
  await take();
  writer.close();
  stop = () => pool.close();
});
afterAll(async () => {
  await stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Anything but a SyncError that says what to do is a defect. */
function onlySaysNo(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof SyncError) || error.code === "INTERNAL") throw error;
  }
}

test("join codes, vectors and lists of revoked identities from anywhere", async () => {
  const { code } = authority.invite("node", { addresses: ["127.0.0.1:1"] });
  await expectHolds("join codes", mutated([Buffer.from(code)]), (bytes) => onlySaysNo(() => parseJoinCode(bytes.toString("latin1"))));
  const vector = "abcdefghijklmnop:12,qrstuvwxyz234567:9007199254740991";
  await expectHolds("vectors", mutated([Buffer.from(vector)]), (bytes) => onlySaysNo(() => parseVector(bytes.toString("latin1"))));
  const { fleet } = authority;
  const signed = Revocations.none(fleet);
  const lists = [Buffer.from(RevocationList.encode(signed.wire).finish()), Buffer.from('{"fleet":"x","version":1,"revoked":[]}')];
  await expectHolds("revocation lists", mutated(lists), (bytes) =>
    onlySaysNo(() => Revocations.read({ content: bytes, signature: bytes }, fleet, trust.ca.publicKey)),
  );
});

test("certificates and requests for them from anywhere", async () => {
  const own = new X509Certificate(trust.own.certificate).raw;
  await expectHolds("certificates", mutated([own, trust.ca.raw]), (bytes) => {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(bytes);
    } catch {
      // What is no certificate does not get through TLS.
      return;
    }
    onlySaysNo(() => identityIn(certificate));
    let accepted = false;
    onlySaysNo(() => {
      trust.recognise(bytes);
      accepted = true;
    });
    if (accepted && !certificate.raw.equals(own)) throw new Error("a changed certificate was accepted");
  });
  const { request } = await createRequest();
  const ca = { certificate: trust.own.ca, key: "" };
  const member = { fleet: authority.fleet, role: "node", id: "x", name: "x" } as const;
  await expectHolds("certificate requests", mutated([request]), async (bytes) => {
    // Without the CA's key nothing can be signed: whatever gets that far was signed by the key in it.
    await issueCertificate(bytes, { ca, member, serial: 1, lifetimeMs: 1, hosts: [] }).catch((error: unknown) => {
      if (!(error instanceof SyncError) && (error as { code?: string }).code !== "ERR_OSSL_UNSUPPORTED") throw error;
    });
  });
});

test("every message of every call", async () => {
  const services = [SyncNodeService, syncNodeService, CoordinatorService, FleetService, AccessService];
  const decoders = services.flatMap((service) =>
    Object.values(
      service as Record<string, { requestDeserialize(bytes: Buffer): unknown; responseDeserialize(bytes: Buffer): unknown }>,
    ).flatMap(({ requestDeserialize, responseDeserialize }) => [requestDeserialize, responseDeserialize]),
  );
  const wire = streams.flatMap((batch) => toWireBatches(batch, 200));
  const valid = wire.flatMap((batch) => [
    Buffer.from(PushChangesRequest.encode({ kind: { $case: "batch", value: batch } }).finish()),
    Buffer.from(GetChangesResponse.encode({ batch, changes: [], count: undefined, clock: undefined }).finish()),
  ]);
  await expectHolds("messages", fc.tuple(mutated(valid), fc.constantFrom(...decoders)), ([bytes, decode]) => {
    try {
      decode(bytes);
    } catch (error) {
      // gRPC answers with INTERNAL; anything but a plain error would be a crash.
      if (!(error instanceof Error) || /memory|allocation/i.test(error.message)) throw error;
    }
  });
  await expectHolds("batches in parts", fc.tuple(mutated(valid), mutated(valid)), (pair) => {
    const assembler = new BatchAssembler();
    for (const bytes of pair) {
      let message: PushChangesRequest;
      try {
        message = PushChangesRequest.decode(bytes);
      } catch {
        return;
      }
      const { kind } = message;
      if (kind?.$case === "batch") onlySaysNo(() => assembler.add(kind.value));
    }
  });
});

test("payloads that are what their sender says, and still make no sense: the database stays whole and goes on", async () => {
  const plain = streams.filter(({ codec }) => codec === "identity");
  await expectHolds(
    "payloads",
    fc
      .tuple(fc.constantFrom(...plain), fc.nat(5))
      .chain(([batch, run]) => mutated([batch.payload]).map((payload) => ({ batch, payload, run }))),
    async ({ batch, payload, run }) => {
      const forged = {
        ...batch,
        payload,
        payloadSize: payload.length,
        sha256: createHash("sha256").update(payload).digest(),
        run: `fuzz${run}`,
      };
      await target.apply(forged).catch((error: unknown) => {
        if (!(error instanceof SyncError) || error.code === "INTERNAL") throw error;
      });
    },
  );
  const application = new Sqlite(target.path);
  application.exec("INSERT INTO log VALUES('still here', 42)");
  await target.drain();
  expect(application.pragma("integrity_check", { simple: true })).toBe("ok");
  expect(application.prepare("SELECT count(*) FROM log WHERE at = 42").pluck().get()).toBe(1);
  application.close();
});

test("bundle files", async () => {
  const path = join(folder, "good.bundle");
  const writer = await BundleWriter.create(path);
  await writer.head({
    protocol: 2,
    version: "1",
    database: "main",
    node: "n",
    run: "r",
    since: "",
    created: new Date(0).toISOString(),
  });
  for (const batch of streams.flatMap((one) => toWireBatches(one))) await writer.batch(batch);
  await writer.finish();
  const { readFileSync } = process.getBuiltinModule("node:fs");
  const good = readFileSync(path);
  await expectHolds("bundles", mutated([good]), async (bytes) => {
    const changedPath = join(folder, "changed.bundle");
    writeFileSync(changedPath, bytes);
    let read = 0;
    try {
      const { reader } = await BundleReader.open(changedPath);
      try {
        for await (const _ of reader.batches()) read += 1;
      } finally {
        await reader.close();
      }
      if (!bytes.equals(good)) throw new Error(`a changed bundle was read to its end (${read} batches)`);
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
    }
  });
});

test("frames of bulk connections from anywhere", async () => {
  const bytes = Buffer.from("bytes of a file");
  const data = Buffer.concat([frameHead({ part: 3, offset: 2 ** 40, bytes }), bytes]);
  const valid = Buffer.concat([data, frameHead({ part: 1, missing: "not there any more" }), frameHead(null), data, frameHead(null)]);
  await expectHolds("bulk frames", mutated([valid, data]), (came) =>
    onlySaysNo(() => {
      const parser = new FrameParser((frame) => {
        if (frame && "bytes" in frame) givePiece(frame.bytes);
      });
      for (let at = 0; at < came.length;) {
        const some = came.copy(parser.room(), 0, at);
        expect(some).toBeGreaterThan(0);
        at += some;
        parser.came(some);
      }
    }),
  );
});
