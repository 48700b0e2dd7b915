import { describe, expect, test } from "vitest";
import {
  brief,
  ByteReader,
  ByteWriter,
  type CellValue,
  LARGE_VALUE_BYTES,
  LONG_TEXT_BYTES,
  LongText,
  MalformedBytes,
  PayloadWriter,
  RawText,
  Ref,
  releasePacked,
  textOfBytes,
} from "../src/index.ts";
import { fc } from "./seeded.ts";
import { cell, sameCell } from "./cells.ts";

function roundTrip(value: CellValue): CellValue {
  const writer = new ByteWriter(16);
  writer.value(value);
  const reader = new ByteReader(writer.toBytes());
  const read = reader.value();
  expect(reader.done).toBe(true);
  return read;
}

const bytesOf = (value: CellValue): Buffer => {
  const writer = new ByteWriter(16);
  writer.value(value);
  return writer.toBytes();
};

const named: [string, CellValue][] = [
  ["NULL", null],
  ...[0n, 1n, -1n, 127n, 128n, -128n, -129n, 32_767n, 32_768n, -32_769n, 2n ** 31n - 1n, 2n ** 31n, -(2n ** 31n) - 1n].map(
    (value): [string, CellValue] => [`integer ${value}`, value],
  ),
  ...[2n ** 47n - 1n, 2n ** 47n, -(2n ** 47n), -(2n ** 47n) - 1n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)].map(
    (value): [string, CellValue] => [`integer ${value}`, value],
  ),
  ...[0, -0, 1, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, Infinity, -Infinity, 2 ** 63].map((value): [string, CellValue] => [
    `real ${Object.is(value, -0) ? "-0" : value}`,
    value,
  ]),
  ["empty text", ""],
  ["text with NUL", "a\0b\0"],
  ["text beyond the basic plane", "𝄞 ü ß 漢 \u{10FFFF}"],
  ["text with the replacement character", "\uFFFD"],
  ...[41, 42, 43, 127, 128, 5_461, 5_462, 16_384, 700_000].map((length): [string, CellValue] => [
    `text of ${length} characters`,
    "漢".repeat(length),
  ]),
  ["raw text", new RawText(Buffer.from("ff61c0", "hex"))],
  ["empty raw text", new RawText(Buffer.alloc(0))],
  ["empty blob", Buffer.alloc(0)],
  ["blob of every byte", Buffer.from(Array.from({ length: 256 }, (_, i) => i))],
  ["blob of 20 MiB", Buffer.alloc(20 * 1024 * 1024, 0xa5)],
  ["reference", new Ref(3, 2 ** 52)],
];

describe("packed values", () => {
  test.each(named)("%s comes back with its class and its bits", (_, value) => {
    expect(sameCell(roundTrip(value), value)).toBe(true);
  });

  test("whatever SQLite can hold comes back, one after the other", () => {
    fc.assert(
      fc.property(fc.array(cell), (values) => {
        const writer = new ByteWriter(1);
        for (const value of values) writer.value(value);
        const reader = new ByteReader(writer.toBytes());
        for (const value of values) expect(sameCell(reader.value(), value)).toBe(true);
        expect(reader.done).toBe(true);
      }),
    );
  });

  test("equal values are equal bytes, different ones are not: hashes and keys are made of them", () => {
    fc.assert(
      fc.property(cell, cell, (a, b) => {
        expect(bytesOf(a).equals(bytesOf(a))).toBe(true);
        expect(bytesOf(a).equals(bytesOf(b))).toBe(sameCell(a, b));
      }),
    );
  });

  test.each<[CellValue, CellValue]>([
    [1n, 1],
    [0, -0],
    ["1", 1n],
    ["a", Buffer.from("a")],
    ["a", new RawText(Buffer.from("a"))],
    ["", null],
    ["", Buffer.alloc(0)],
  ])("%o and %o stay different", (a, b) => {
    expect(bytesOf(a).equals(bytesOf(b))).toBe(false);
  });

  test("a blob that was read shares no memory with what it was read from", () => {
    const packed = bytesOf(Buffer.from("abc"));
    const read = new ByteReader(packed).value() as Uint8Array;
    packed.fill(0);
    expect(Buffer.from(read).toString()).toBe("abc");
  });

  test("numbers of every size come back", () => {
    fc.assert(
      fc.property(fc.array(fc.maxSafeNat()), fc.array(fc.integer({ min: -(2 ** 52), max: 2 ** 52 - 1 })), (plain, signed) => {
        const writer = new ByteWriter(1);
        for (const value of plain) writer.varint(value);
        for (const value of signed) writer.signedVarint(value);
        const reader = new ByteReader(writer.toBytes());
        expect(plain.map(() => reader.varint())).toEqual(plain);
        expect(signed.map(() => reader.signedVarint() + 0)).toEqual(signed.map((value) => value + 0));
      }),
    );
  });
});

describe("packed bytes from someone else", () => {
  /** Reads values until the end, or until it makes no sense. */
  const readAll = (bytes: Uint8Array) => {
    const reader = new ByteReader(bytes);
    try {
      while (!reader.done) reader.value();
    } catch (error) {
      if (!(error instanceof MalformedBytes)) throw error;
    }
  };

  test("make sense or are refused, whatever they are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => readAll(bytes)).not.toThrow();
      }),
      { numRuns: 5_000 },
    );
  });

  test("cut anywhere inside a value are refused", () => {
    fc.assert(
      fc.property(cell, fc.nat(), (value, cut) => {
        const packed = bytesOf(value);
        const reader = new ByteReader(packed.subarray(0, cut % packed.length));
        expect(() => reader.value()).toThrow(MalformedBytes);
      }),
    );
  });

  test.each([
    ["a text", 17],
    ["a blob", 18],
    ["a raw text", 19],
  ])("that promise %s of petabytes are refused without making room for it", (_, tag) => {
    const before = process.memoryUsage().arrayBuffers;
    const promise = Buffer.from([tag, 255, 255, 255, 255, 255, 255, 127]);
    expect(() => new ByteReader(promise).value()).toThrow(MalformedBytes);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000);
  });

  test.each([
    ["a number that never ends", Buffer.alloc(9, 255)],
    ["a number beyond 2^53", Buffer.from([255, 255, 255, 255, 255, 255, 255, 127])],
    ["nothing", Buffer.alloc(0)],
  ])("%s is refused as a number", (_, bytes) => {
    expect(() => new ByteReader(bytes).varint()).toThrow(MalformedBytes);
  });

  test.each([7, 9, 15, 21, 255])("storage class %i is refused", (tag) => {
    expect(() => new ByteReader(Buffer.from([tag, ...Buffer.alloc(16)])).value()).toThrow(MalformedBytes);
  });
});

test.each([
  ["a blob", (bytes: Buffer) => bytes],
  ["text that is not UTF-8", (bytes: Buffer) => new RawText(bytes)],
])("%s whose memory was given back is an error, not an empty value", (_name, of) => {
  const bytes = Buffer.alloc(LARGE_VALUE_BYTES, 1);
  const payload = new PayloadWriter({ origin: () => ({ origin: "", author: "" }), context: () => [] });
  payload.value(of(bytes));
  releasePacked(bytes);
  expect(() => bytesOf(of(bytes))).toThrow("given back");
  expect(() => payload.finish()).toThrow("given back");
  expect(bytesOf(of(Buffer.alloc(0)))).not.toEqual(Buffer.alloc(0));
});

test.each(["a", "é", "€", "🦀", "\0", "\uFFFD"])(
  "long text of %j is the same bytes whether it is kept as them or as a string",
  (letter) => {
    const text = letter.repeat(Math.ceil(LONG_TEXT_BYTES / Buffer.byteLength(letter)));
    const kept = textOfBytes(Buffer.from(text));
    expect(kept).toBeInstanceOf(LongText);
    const packed = bytesOf(text);
    expect(bytesOf(kept).equals(packed)).toBe(true);
    const payload = (value: CellValue): Buffer => {
      const writer = new PayloadWriter({ origin: () => ({ origin: "o", author: "a" }), context: () => [] });
      writer.value(value);
      return writer.finish();
    };
    expect(payload(textOfBytes(Buffer.from(text))).equals(payload(text))).toBe(true);
    expect(new ByteReader(packed).value()).toBe(text);
    const read = new ByteReader(packed, true).value() as LongText;
    expect(read).toBeInstanceOf(LongText);
    expect(read.toString()).toBe(text);
    expect(brief(read)).toBe(brief(text));
  },
);

test("bytes that are no text stay what they are, however many", () => {
  const bytes = Buffer.concat([Buffer.alloc(LONG_TEXT_BYTES, "a"), Buffer.from([0xff])]);
  const read = new ByteReader(bytesOf(new RawText(bytes)), true).value();
  expect(read).not.toBeInstanceOf(LongText);
  expect((read as RawText).bytes.length).toBe(bytes.length);
  expect(textOfBytes(bytes)).not.toBeInstanceOf(LongText);
});
