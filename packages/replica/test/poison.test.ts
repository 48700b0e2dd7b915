import { createHash } from "node:crypto";
import { type ChangeBatch, join } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, START_US } from "./site.ts";
import { seeded } from "./seeded.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, y);
  CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT);
  CREATE TABLE child(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id), m TEXT)`;

/** A receiver with rows of its own and a server with births, edits, deletes, a conflict and a moved row for it. */
function scene(): { to: Site; batch: ChangeBatch } {
  const [from, to] = [new Site("from", SCHEMA), new Site("to", SCHEMA)];
  to.edit("INSERT INTO word VALUES('k', 'first', 1.5), ('gone', '', ''); INSERT INTO parent VALUES(1, 'of to')");
  settle(from, to);
  to.edit("UPDATE word SET x = 'of to' WHERE k = 'k'; INSERT INTO parent VALUES(2, 'second of to')", START_US + SECOND_US);
  from.edit(
    "UPDATE word SET x = 'of from' WHERE k = 'k'; DELETE FROM word WHERE k = 'gone'; INSERT INTO parent VALUES(2, 'of from'); INSERT INTO child VALUES(1, 2, 'child'), (2, 1, x'00ff')",
    START_US + 2 * SECOND_US,
  );
  const vector = join(to.replica.state().vector, to.replica.position(from.replica.run));
  return { to, batch: from.replica.read({ from: vector, batchSize: 0, codecs: [], beyondDigest: to.replica.beyondDigest() }) };
}

const sealed = (payload: Buffer, batch: ChangeBatch): ChangeBatch => ({
  ...batch,
  payload,
  payloadSize: payload.length,
  sha256: createHash("sha256").update(payload).digest(),
});

const bytes = (batch: ChangeBatch) => Buffer.from(batch.payload);

const poisons: [string, (batch: ChangeBatch) => ChangeBatch][] = [
  [
    "with a flipped bit that makes another text of a text",
    (batch) => {
      const payload = bytes(batch);
      payload[payload.indexOf("of from")]! ^= 1;
      return { ...batch, payload };
    },
  ],
  ["cut short", (batch) => ({ ...batch, payload: bytes(batch).subarray(0, -1) })],
  ["cut short with a SHA-256 to match", (batch) => sealed(bytes(batch).subarray(0, -1), batch)],
  ["with something behind its end", (batch) => sealed(Buffer.concat([bytes(batch), Buffer.from([0])]), batch)],
  ["without its bytes", (batch) => sealed(Buffer.alloc(0), batch)],
  ["that says it has one change more", (batch) => ({ ...batch, count: batch.count + 1 })],
  ["that says it has one change less", (batch) => ({ ...batch, count: batch.count - 1 })],
  ["that says it is larger than it is", (batch) => ({ ...batch, payloadSize: batch.payloadSize + 1 })],
  ["that says it is larger than memory", (batch) => ({ ...batch, payloadSize: 2 ** 40 })],
  ["that says it is compressed", (batch) => ({ ...batch, codec: "zstd" })],
  ["of a layout nobody knows", (batch) => ({ ...batch, format: "packed-9" })],
  ["of another payload version", (batch) => sealed(Buffer.concat([Buffer.from([9]), bytes(batch).subarray(1)]), batch)],
  ["of random bytes", (batch) => sealed(Buffer.from("0102030405060708090a0b0c0d0e0f", "hex"), batch)],
];

describe("a batch", () => {
  test("as it was sent is taken", () => {
    const { to, batch } = scene();
    expect(batch.count).toBeGreaterThan(4);
    expect(to.replica.apply(batch)).toMatchObject({ conflicts: 1 });
    expect(to.rows("SELECT m FROM parent ORDER BY m")).toEqual([{ m: "of from" }, { m: "of to" }, { m: "second of to" }]);
  });

  test.each(poisons)("%s is refused and changes nothing", (_, poison) => {
    const { to, batch } = scene();
    const before = to.contents();
    const poisoned = poison(batch);
    expect(refusal(() => to.replica.apply(poisoned))).toBe(poisoned.format === batch.format ? "BATCH_CORRUPT" : "PROTOCOL_VERSION");
    expect(to.contents()).toBe(before);
    // And the replica is none the worse for it.
    to.replica.apply(batch);
    expect(to.rows("SELECT m FROM child ORDER BY id")).toHaveLength(2);
  });

  test("whose bytes were changed by someone who knows SHA-256 is taken or refused whole, never a crash", () => {
    const seed = 20_260_101;
    const random = seeded(seed);
    const { to, batch } = scene();
    const refusals: string[] = [];
    const traces: string[] = [];
    for (let i = 0; i < 400; i++) {
      const payload = bytes(batch);
      for (let flips = 1 + Math.floor(random() * 3); flips > 0; flips--)
        payload[Math.floor(random() * payload.length)] = Math.floor(random() * 256);
      const before = to.contents();
      // Not final: the vector stays, so that each is looked at.
      const outcome = refusal(() => to.replica.apply({ ...sealed(payload, batch), final: false, to: batch.from }));
      if (outcome === "nothing was refused") continue;
      refusals.push(String(outcome));
      if (to.contents() !== before) traces.push(`change ${i}`);
    }
    console.log(`seed ${seed}: ${refusals.length} of 400 refused`);
    expect(refusals.filter((code) => !["BATCH_CORRUPT", "BATCH_GAP", "SCHEMA_UNSUPPORTED"].includes(code))).toEqual([]);
    expect(refusals.filter((code) => code === "BATCH_CORRUPT").length).toBeGreaterThan(50);
    expect(traces).toEqual([]);
    expect(to.rows("PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }]);
  });
});
