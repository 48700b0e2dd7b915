import { fc } from "../../core/test/seeded.ts";
import { RawText, type ChangeBatch, type SqlValue } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import {
  Batch,
  BatchAssembler,
  GetChangesResponse,
  GetFileResponse,
  PushChangesRequest,
  PutFileRequest,
  SyncNodeService,
  Value,
  checkProtocol,
  formatTime,
  fromWireHistory,
  fromWireReview,
  fromWireValue,
  fromWireVector,
  parseTime,
  syncNodeService,
  toWireBatches,
  toWireHistory,
  toWireReview,
  toWireValue,
  toWireVector,
} from "../src/index.ts";

const bytes = (maxLength = 64) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const origin = fc.string({ unit: fc.constantFrom(...Array.from("abcdefghijklmnopqrstuvwxyz234567")), minLength: 16, maxLength: 16 });
const vector = fc.array(fc.tuple(origin, fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }))).map((entries) => new Map(entries));
const value: fc.Arbitrary<SqlValue> = fc.oneof(
  fc.constant(null),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.double({ noNaN: true }),
  fc.string({ unit: "grapheme" }),
  bytes(),
  bytes().map((raw) => new RawText(raw)),
);
const timeUs = fc.integer({ min: 1, max: 4_000_000_000_000_000 });
const batch: fc.Arbitrary<ChangeBatch> = fc
  .record({
    from: vector,
    to: vector,
    count: fc.nat(),
    codec: fc.constantFrom("identity" as const, "zstd" as const),
    format: fc.constant("packed-1"),
    sha256: bytes(32),
    payload: bytes(300),
    payloadSize: fc.maxSafeNat(),
    final: fc.boolean(),
    vector,
    digest: bytes(16),
    schema: fc.string(),
    run: fc.string(),
    beyondDigest: bytes(16),
    remaining: fc.maxSafeNat(),
    baseline: fc.string(),
  })
  .map((made) => (made.final ? made : { ...made, vector: new Map() }));

/** Through bytes, as between two processes. */
const throughWire = <T>(codec: { encode(value: T): { finish(): Uint8Array }; decode(bytes: Uint8Array): T }, message: T): T =>
  codec.decode(codec.encode(message).finish());

/** What is taken of a batch of which one bit was flipped on the way; the batch itself where it is refused or waits for more parts. */
function withBitFlipped(given: ChangeBatch, at: number): ChangeBatch {
  const message = Batch.encode(toWireBatches(given)[0] as Batch).finish();
  const bit = at % (message.length * 8);
  message[bit >> 3] = (message[bit >> 3] as number) ^ (1 << (bit & 7));
  try {
    return new BatchAssembler().add(Batch.decode(message)) ?? given;
  } catch {
    return given;
  }
}

describe("wire <-> core", () => {
  test("every SQLite value", () => {
    fc.assert(fc.property(value, (given) => void expect(fromWireValue(throughWire(Value, toWireValue(given)))).toEqual(given)));
    for (const edge of [-0, 5e-324, Infinity, -Infinity, 0.1 + 0.2]) {
      expect(Object.is(fromWireValue(throughWire(Value, toWireValue(edge))), edge)).toBe(true);
    }
    expect(fromWireValue(throughWire(Value, toWireValue(1)))).toBe(1);
    expect(fromWireValue(throughWire(Value, toWireValue(1n)))).toBe(1n);
    expect(fromWireValue(throughWire(Value, toWireValue("a\0b")))).toBe("a\0b");
    expect(() => fromWireValue({ kind: undefined })).toThrow(/no kind/);
  });

  test("vectors, and what is not one", () => {
    fc.assert(fc.property(vector, (given) => void expect(fromWireVector(toWireVector(given))).toEqual(given)));
    const entry = (name: string, sequence: bigint) => ({ entries: [{ origin: name, sequence, chain: Buffer.alloc(0) }] });
    expect(() => fromWireVector(entry("short", 1n))).toThrow(/short/);
    expect(() => fromWireVector(entry("a".repeat(16), 2n ** 60n))).toThrow(/version vector/);
  });

  test("times to the microsecond", () => {
    fc.assert(fc.property(timeUs, (us) => void expect(parseTime(formatTime(us))).toBe(us)));
    expect(formatTime(1_700_000_000_123_456)).toBe("2023-11-14T22:13:20.123456Z");
    expect(formatTime(0)).toBe("");
    expect(parseTime("")).toBe(0);
  });

  test("batches, whole and in parts, through the bulk codec and the generated one", () => {
    fc.assert(
      fc.property(batch, fc.integer({ min: 1, max: 400 }), fc.boolean(), (given, partBytes, mixed) => {
        const assembler = new BatchAssembler();
        const complete: ChangeBatch[] = [];
        for (const message of toWireBatches(given, partBytes)) {
          const response: GetChangesResponse = { batch: message, changes: [], count: undefined };
          const request: PushChangesRequest = { kind: { $case: "batch", value: message } };
          const fast = syncNodeService.getChanges.responseSerialize(response);
          expect(GetChangesResponse.decode(fast)).toEqual(response);
          const slow = SyncNodeService.getChanges.responseSerialize(response);
          const received = syncNodeService.getChanges.responseDeserialize(mixed ? slow : fast);
          const up = syncNodeService.pushChanges.requestSerialize(request);
          expect(PushChangesRequest.decode(up)).toEqual(request);
          expect(syncNodeService.pushChanges.requestDeserialize(up)).toEqual(request);
          const whole = assembler.add(received.batch as Batch);
          if (whole) complete.push(whole);
        }
        expect(complete).toEqual([given]);
      }),
    );
  });

  test("bytes of files through their own codec and the generated one", () => {
    const chunk = fc.oneof(
      bytes(),
      fc.integer({ min: 4_000, max: 9_000 }).map((size) => Buffer.alloc(size, "chunk")),
    );
    const u64 = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });
    const response = fc.record({
      entry: fc.constant(undefined),
      range: fc.nat(),
      offset: u64,
      chunk,
      recipe: bytes(),
      missing: fc.string(),
      ticket: bytes(),
    });
    fc.assert(
      fc.property(response, chunk, u64, fc.string(), (given, put, offset, sha256) => {
        const down = syncNodeService.getFile.responseSerialize(given);
        for (const wire of [down, SyncNodeService.getFile.responseSerialize(given)]) {
          expect(GetFileResponse.decode(wire)).toEqual(given);
          expect(syncNodeService.getFile.responseDeserialize(wire)).toEqual(given);
        }
        const request: PutFileRequest = { kind: { $case: "bytes", value: { sha256, offset, chunk: put } } };
        const up = syncNodeService.putFile.requestSerialize(request);
        for (const wire of [up, SyncNodeService.putFile.requestSerialize(request)]) {
          expect(PutFileRequest.decode(wire)).toEqual(request);
          expect(syncNodeService.putFile.requestDeserialize(wire)).toEqual(request);
        }
        const commit: PutFileRequest = { kind: { $case: "commit", value: { missing: [sha256.padEnd(5_000)] } } };
        expect(syncNodeService.putFile.requestDeserialize(syncNodeService.putFile.requestSerialize(commit))).toEqual(commit);
      }),
    );
  });

  test("a batch with a bit flipped claims nothing that was not said", () => {
    // Whoever applies it compares the payload with `sha256`.
    const claims = fc.property(batch, fc.nat(), (given, at) => {
      const taken = withBitFlipped(given, at);
      expect({ ...taken, payload: given.payload }).toEqual(given);
    });
    expect(() => fc.assert(claims, { numRuns: 3_000 })).not.toThrow();
  });

  test("parts out of order are refused", () => {
    const [first, second, third] = toWireBatches({ ...fc.sample(batch, 1)[0], payload: Buffer.alloc(30) } as ChangeBatch, 10);
    const assembler = new BatchAssembler();
    assembler.add(first as Batch);
    expect(() => assembler.add(third as Batch)).toThrow(/part 3 of 3 came where part 2/);
    expect(() => new BatchAssembler().add(second as Batch)).toThrow(/part 2/);
    const cut = new BatchAssembler();
    cut.add(first as Batch);
    expect(() => cut.add(toWireBatches(fc.sample(batch, 1)[0] as ChangeBatch)[0] as Batch)).toThrow(/before the one in parts/);
  });

  test("reviews and history", () => {
    const version = fc.record({ value, author: fc.string(), timeUs, dot: fc.string() });
    const review = fc.record({
      id: fc.string(),
      kind: fc.constantFrom("conflict" as const, "parked" as const),
      table: fc.string(),
      key: fc.string(),
      column: fc.option(fc.string({ minLength: 1 })),
      winner: fc.option(version),
      loser: fc.option(version),
      image: fc.option(fc.array(fc.record({ name: fc.string(), value }), { minLength: 1 })),
      reason: fc.string(),
      sinceUs: timeUs,
      resolved: fc.boolean(),
    });
    fc.assert(fc.property(review, (given) => void expect(fromWireReview(toWireReview("main", given))).toEqual(given)));
    const entry = fc.record({
      operation: fc.constantFrom("insert" as const, "rekey" as const),
      column: fc.option(fc.string({ minLength: 1 })),
      value,
      author: fc.string(),
      timeUs,
      dot: fc.string(),
      note: fc.string(),
    });
    fc.assert(fc.property(entry, (given) => void expect(fromWireHistory(toWireHistory(given))).toEqual(given)));
  });
});

describe("protocol versions", () => {
  test("neighbours work, others are told who is to upgrade", () => {
    checkProtocol(0, "A");
    checkProtocol(1, "A");
    checkProtocol(3, "A");
    expect(() => checkProtocol(4, "node A")).toThrow(/Upgrade this node/);
  });
});
