import { describe, expect, test } from "vitest";
import { type CellValue, MalformedBytes, PayloadReader, PayloadWriter, Ref, type Write } from "../src/index.ts";
import { fc } from "./seeded.ts";
import { cell, sameCell } from "./cells.ts";

const NAMES = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc", "dddddddddddddddd"];
const CONTEXTS: [number, number][][] = [
  [],
  [[1, 5]],
  [
    [1, 5],
    [3, 2 ** 50],
  ],
  [
    [0, 1],
    [2, 1],
  ],
];

/** A record as these tests write them: one write and some values. */
interface Item {
  write: Write;
  values: CellValue[];
}

const item: fc.Arbitrary<Item> = fc.record({
  write: fc.record({
    origin: fc.nat(NAMES.length - 1),
    sequence: fc.integer({ min: 0, max: 2 ** 51 }),
    time: fc.integer({ min: 0, max: 2 ** 51 }),
    context: fc.nat(CONTEXTS.length - 1),
  }),
  values: fc.array(
    cell.map((value) => (value instanceof Ref ? new Ref(value.origin % NAMES.length, value.sequence) : value)),
    { maxLength: 4 },
  ),
});

function pack(items: readonly Item[]): Buffer {
  const writer = new PayloadWriter({
    origin: (origin) => ({ origin: NAMES[origin] as string, author: `node ${origin}` }),
    context: (context) => CONTEXTS[context] as [number, number][],
  });
  writer.table({ name: "tabelle ü", surrogate: true, keyParts: 0, columns: ["a", "b", "select"] });
  writer.table({ name: "", surrogate: false, keyParts: 3, columns: [] });
  for (const { write, values } of items) {
    writer.count++;
    writer.write(write);
    writer.body.varint(values.length);
    for (const value of values) writer.value(value);
  }
  return writer.finish();
}

/** Reads it on a replica that gives other numbers to everything: origins are 100 greater, contexts 50. */
function unpack(payload: Uint8Array): { items: Item[]; reader: PayloadReader } {
  const reader = new PayloadReader(payload);
  const numberOf = (name: string) => 100 + NAMES.indexOf(name);
  const contextOf = (entries: readonly [number, number][]) =>
    50 +
    CONTEXTS.findIndex(
      (known) =>
        JSON.stringify(known) ===
        JSON.stringify(entries.map(([index, sequence]) => [NAMES.indexOf(reader.head.origins[index]?.origin ?? ""), sequence])),
    );
  reader.resolve(
    reader.head.origins.map(({ origin }) => numberOf(origin)),
    reader.head.contexts.map(contextOf),
  );
  const items: Item[] = [];
  for (let left = reader.count; left > 0; left--) {
    const write = reader.write();
    const values: CellValue[] = [];
    for (let more = reader.body.varint(); more > 0; more--) values.push(reader.value());
    items.push({ write, values });
  }
  if (!reader.body.done) throw new MalformedBytes("bytes are left over");
  return { items, reader };
}

const elsewhere = (value: CellValue) => (value instanceof Ref ? new Ref(value.origin + 100, value.sequence) : value);

describe("a payload", () => {
  test("brings every write and value to a replica with numbers of its own", () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 30 }), (items) => {
        const { items: read, reader } = unpack(pack(items));
        expect(reader.count).toBe(items.length);
        expect(read.map(({ write }) => write)).toEqual(
          items.map(({ write }) => ({ ...write, origin: write.origin + 100, context: write.context + 50 })),
        );
        read.forEach(({ values }, i) => {
          expect(values.length).toBe(items[i]!.values.length);
          values.forEach((value, at) => expect(sameCell(value, elsewhere(items[i]!.values[at] as CellValue))).toBe(true));
        });
      }),
    );
  });

  test("says which tables and authors it speaks of, those of contexts too", () => {
    const { reader } = unpack(pack([{ write: { origin: 2, sequence: 1, time: 1, context: 2 }, values: [] }]));
    expect(reader.head.tables).toEqual([
      { name: "tabelle ü", surrogate: true, keyParts: 0, columns: ["a", "b", "select"] },
      { name: "", surrogate: false, keyParts: 3, columns: [] },
    ]);
    expect(reader.head.origins).toEqual([2, 1, 3].map((origin) => ({ origin: NAMES[origin], author: `node ${origin}` })));
    expect(reader.head.contexts).toEqual([
      [
        [1, 5],
        [2, 2 ** 50],
      ],
    ]);
  });

  test("names each origin and context once, however many writes have it", () => {
    const many = Array.from({ length: 1_000 }, (_, i) => ({ write: { origin: 1, sequence: i + 1, time: i, context: 1 }, values: [] }));
    const packed = pack(many);
    expect(packed.toString("latin1").split(NAMES[1] as string)).toHaveLength(2);
    // Differences of one: a handful of bytes each.
    expect(packed.length).toBeLessThan(8 * 1_000);
  });

  test("with 20 MiB of blob is the same afterwards", () => {
    const blob = Buffer.alloc(20 * 1024 * 1024, 1);
    blob.writeUInt32BE(7, 12_345);
    // A payload takes large values over: their memory is given back.
    const { items } = unpack(pack([{ write: { origin: 0, sequence: 1, time: 1, context: 0 }, values: [Buffer.from(blob), null] }]));
    expect(Buffer.compare(items[0]?.values[0] as Buffer, blob)).toBe(0);
  });
});

describe("a payload that is not what was written", () => {
  const sample = pack(
    [null, 1n, -(2n ** 63n), 0.5, "text", Buffer.from("blob"), new Ref(1, 5)].map((value, i) => ({
      write: { origin: i % 4, sequence: i + 1, time: 1_700_000_000_000_000 + i, context: i % 4 },
      values: [value, value],
    })),
  );
  const refused = (bytes: Uint8Array): boolean => {
    try {
      unpack(bytes);
      return false;
    } catch (error) {
      if (error instanceof MalformedBytes) return true;
      throw error;
    }
  };

  test("cut at any byte is refused as such", () => {
    for (let length = 0; length < sample.length; length++) expect(refused(sample.subarray(0, length)), `cut at ${length}`).toBe(true);
    expect(refused(sample)).toBe(false);
  });

  test("with something behind its end is refused", () => {
    expect(refused(Buffer.concat([sample, Buffer.from([0])]))).toBe(true);
  });

  test("with any bit flipped is read or refused, never worse", () => {
    for (let bit = 0; bit < sample.length * 8; bit++) {
      const flipped = Buffer.from(sample);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect([true, false]).toContain(refused(flipped));
    }
  });

  test("of random bytes is read or refused, never worse", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, versioned) => {
        const given = versioned ? Buffer.concat([Buffer.from([1]), bytes]) : bytes;
        expect([true, false]).toContain(refused(given));
      }),
      { numRuns: 5_000 },
    );
  });

  test("of another version is refused", () => {
    expect(refused(Buffer.concat([Buffer.from([2]), sample.subarray(1)]))).toBe(true);
  });

  test.each([
    ["origins", [1]],
    ["contexts", [1, 0]],
    ["entries of a context", [1, 0, 1]],
    ["tables", [1, 0, 0]],
    ["columns", [1, 0, 0, 1, 0, 0]],
    ["records", [1, 0, 0, 0]],
  ])("that promises ever so many %s is refused before room is made for them", (_, start) => {
    // Seven bytes of 2^49 - 1, with nothing behind.
    const promise = Buffer.from([...start, 255, 255, 255, 255, 255, 255, 127]);
    const before = process.memoryUsage();
    expect(refused(promise)).toBe(true);
    const after = process.memoryUsage();
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(20_000_000);
  });
});
