import { isUtf8 } from "node:buffer";
import { LongText, RawText, type SqlValue } from "./exchange.ts";

/** A reference to a row by its identity: the local number of an origin, and the sequence of the row's birth. */
export class Ref {
  readonly origin: number;
  readonly sequence: number;
  constructor(origin: number, sequence: number) {
    this.origin = origin;
    this.sequence = sequence;
  }
}

/** What a column of a change can hold: a SQLite value, or a reference to a row whose integer differs between replicas. */
export type CellValue = SqlValue | Ref;

/** Storage classes as they are tagged in packed bytes. Integers are tagged 1..8 by their length in bytes. */
export const Tag = { null: 0, real: 16, text: 17, blob: 18, rawText: 19, ref: 20 } as const;

/** Characters up to which text is written one by one. */
const SHORT_TEXT = 32;

/** A value of this size or more is not copied on its way: it may be as large as a row can be, bytes. */
export const LARGE_VALUE_BYTES = 1024 * 1024;

/** From so many bytes on text may be a `LongText`. Its length takes as much room in packed bytes whatever characters it is of. */
export const LONG_TEXT_BYTES = 4 * LARGE_VALUE_BYTES;

/** Text as its bytes. */
export const textOfBytes = (bytes: Uint8Array): RawText =>
  bytes.length >= LONG_TEXT_BYTES && isUtf8(bytes) ? new LongText(bytes) : new RawText(bytes);

/** The bytes of a blob, or of text that is kept as its bytes; null for everything else. */
const heldBytes = (value: unknown): Uint8Array | null => {
  const bytes = value instanceof RawText ? value.bytes : value;
  return bytes instanceof Uint8Array ? bytes : null;
};

/** For who wrote a large value and when, and for small values of its row, bytes. */
const ROOM_BESIDE_LARGE = 64 * 1024;

/**
 * Gives the memory of a large value back at once instead of when the collector comes by: two more of its size may be
 * asked for before that. `value` must not be read again, by anyone. Small values, and those that share memory, are left.
 */
export function releaseLarge(value: unknown): void {
  const bytes = heldBytes(value);
  if (bytes && bytes.buffer.byteLength === bytes.length) ownedMemory(bytes)?.transfer(0);
}

/** As `releaseLarge`, of what was packed or read for one purpose: of all that is in its memory, several large values maybe. */
export function releasePacked(value: unknown): void {
  const bytes = heldBytes(value);
  if (bytes && bytes.length >= LARGE_VALUE_BYTES && bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
}

/** Throws where the memory of these bytes was given back: they would pass for an empty value, and that would be stored in place of them. */
export function expectHeld(bytes: Uint8Array): void {
  if (bytes.length === 0 && bytes.buffer instanceof ArrayBuffer && bytes.buffer.detached)
    throw new Error("a large value was read after its memory was given back; nothing of the transaction is kept");
}

/** What a value's bytes lie in, maybe with other values; null for one that has none. */
export function memoryOf(value: unknown): ArrayBufferLike | null {
  return heldBytes(value)?.buffer ?? null;
}

/** The memory of which a large value is most; null for small values and those of shared memory. */
export function ownedMemory(value: Uint8Array): ArrayBuffer | null {
  const { buffer } = value;
  const most = value.length >= LARGE_VALUE_BYTES && value.length * 2 > buffer.byteLength;
  return most && buffer instanceof ArrayBuffer ? buffer : null;
}

/** Appends to a growing buffer. Never shares memory with what it was given. */
export class ByteWriter {
  buffer: Buffer;
  length = 0;

  constructor(capacity = 4096) {
    this.buffer = Buffer.allocUnsafeSlow(capacity);
  }

  /**
   * One that does not grow for a large value among these, nor for what is said beside it: grown by doubling, a large value would be
   * there three times. Room that is not written to is no memory yet.
   */
  static withRoomFor(values: Iterable<CellValue>): ByteWriter {
    let bytes = 64;
    for (const value of values) {
      const { length } = value instanceof RawText ? value.bytes : value instanceof Uint8Array || typeof value === "string" ? value : "";
      if (length >= LARGE_VALUE_BYTES) bytes += ROOM_BESIDE_LARGE + (typeof value === "string" ? 3 * length : length);
      else if (value instanceof Uint8Array) bytes += length;
    }
    return new ByteWriter(bytes);
  }

  /** Makes room for `more` bytes. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.buffer.length * 2));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }

  reset(): void {
    this.length = 0;
  }

  /** A copy of what was written. */
  toBytes(): Buffer {
    return Buffer.from(this.buffer.subarray(0, this.length));
  }

  /** What was written, at the end: where that is large the memory that it is in, since a copy would be there beside it. */
  takeBytes(): Buffer {
    return this.length < LARGE_VALUE_BYTES ? this.toBytes() : this.buffer.subarray(0, this.length);
  }

  byte(value: number): void {
    if (this.length === this.buffer.length) this.reserve(1);
    this.buffer[this.length++] = value;
  }

  /** An integer from 0 to 2^53. */
  varint(value: number): void {
    if (this.length + 8 > this.buffer.length) this.reserve(8);
    const buffer = this.buffer;
    let at = this.length;
    while (value >= 0x1000_0000) {
      buffer[at++] = (value % 128) | 128;
      value = Math.floor(value / 128);
    }
    while (value >= 128) {
      buffer[at++] = (value & 127) | 128;
      value >>>= 7;
    }
    buffer[at++] = value;
    this.length = at;
  }

  /** An integer from -2^52 to 2^52. */
  signedVarint(value: number): void {
    this.varint(value < 0 ? -value * 2 - 1 : value * 2);
  }

  bytes(value: Uint8Array): void {
    this.reserve(value.length);
    this.buffer.set(value, this.length);
    this.length += value.length;
  }

  /** Length, then the bytes. Throws where their memory was given back. */
  block(value: Uint8Array): void {
    expectHeld(value);
    this.varint(value.length);
    this.bytes(value);
  }

  /** Length, then UTF-8. The width of the length depends on the string alone, so equal strings are equal bytes. */
  text(value: string): void {
    const most = value.length * 3;
    this.reserve(most + 8);
    const width = lengthWidth(most);
    const written = this.shortAscii(value, this.length + width) || this.buffer.write(value, this.length + width, "utf8");
    this.paddedVarint(written, width);
    this.length += written;
  }

  /** Writes a short string of ASCII at `start`, cheaper than a call for it; returns its bytes, 0 where it is no such string. */
  private shortAscii(value: string, start: number): number {
    const { length } = value;
    if (length > SHORT_TEXT) return 0;
    const { buffer } = this;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code >= 128) return 0;
      buffer[start + i] = code;
    }
    return length;
  }

  /** The length that `text` writes before the `bytes` bytes of a text. */
  textLength(value: string | LongText, bytes: number): void {
    this.reserve(8);
    this.paddedVarint(bytes, typeof value === "string" ? lengthWidth(value.length * 3) : LONG_TEXT_WIDTH);
  }

  private paddedVarint(value: number, width: number): void {
    let rest = value;
    for (let left = width; left > 1; left--) {
      this.buffer[this.length++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.buffer[this.length++] = rest;
  }

  integer(value: bigint): void {
    if (value >= -140_737_488_355_328n && value <= 140_737_488_355_327n) return this.smallInteger(Number(value));
    this.reserve(9);
    this.buffer[this.length] = 8;
    this.buffer.writeBigInt64BE(value, this.length + 1);
    this.length += 9;
  }

  private smallInteger(value: number): void {
    if (this.length + 7 > this.buffer.length) this.reserve(7);
    const buffer = this.buffer;
    const at = this.length;
    if (value >= -128 && value <= 127) {
      buffer[at] = 1;
      buffer[at + 1] = value & 255;
      this.length = at + 2;
    } else if (value >= -32_768 && value <= 32_767) {
      buffer[at] = 2;
      buffer[at + 1] = (value >> 8) & 255;
      buffer[at + 2] = value & 255;
      this.length = at + 3;
    } else if (value >= -2_147_483_648 && value <= 2_147_483_647) {
      buffer[at] = 4;
      buffer.writeInt32BE(value, at + 1);
      this.length = at + 5;
    } else {
      buffer[at] = 6;
      buffer.writeIntBE(value, at + 1, 6);
      this.length = at + 7;
    }
  }

  /** One value with its storage class; 1 and 1.0 differ, text is UTF-8, every double keeps its bits. */
  value(value: CellValue): void {
    if (value === null) return this.byte(Tag.null);
    switch (typeof value) {
      case "bigint":
        return this.integer(value);
      case "string":
        this.byte(Tag.text);
        return this.text(value);
      case "number":
        this.reserve(9);
        this.buffer[this.length] = Tag.real;
        this.buffer.writeDoubleBE(value, this.length + 1);
        this.length += 9;
        return;
      default:
    }
    if (value instanceof Ref) {
      this.byte(Tag.ref);
      this.varint(value.origin);
      this.varint(value.sequence);
    } else if (value instanceof LongText) {
      expectHeld(value.bytes);
      this.byte(Tag.text);
      this.textLength(value, value.bytes.length);
      this.bytes(value.bytes);
    } else if (value instanceof RawText) {
      this.byte(Tag.rawText);
      this.block(value.bytes);
    } else {
      this.byte(Tag.blob);
      this.block(value);
    }
  }
}

/** Thrown when packed bytes do not make sense; the caller says whose they were. */
export class MalformedBytes extends Error {}

/** Reads what ByteWriter wrote. Checks every length against what is there. */
export class ByteReader {
  readonly buffer: Buffer;
  private readonly keepsLong: boolean;
  at = 0;

  /** `keepsLong`: long text is read as its bytes, which lie in those given. */
  constructor(bytes: Uint8Array, keepsLong = false) {
    this.buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.keepsLong = keepsLong;
  }

  get done(): boolean {
    return this.at >= this.buffer.length;
  }

  byte(): number {
    if (this.at >= this.buffer.length) throw new MalformedBytes("ends early");
    return this.buffer[this.at++] as number;
  }

  varint(): number {
    const buffer = this.buffer;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = buffer[this.at++];
      if (byte === undefined) throw new MalformedBytes("ends early");
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 128;
    }
    throw new MalformedBytes("number too large");
  }

  signedVarint(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** A view of the next `length` bytes. */
  bytes(length: number): Buffer {
    const end = this.at + length;
    if (end > this.buffer.length) throw new MalformedBytes("ends early");
    const view = this.buffer.subarray(this.at, end);
    this.at = end;
    return view;
  }

  block(): Buffer {
    return this.bytes(this.varint());
  }

  text(): string {
    return this.textOf(this.varint());
  }

  private textOf(length: number): string {
    const end = this.at + length;
    if (end > this.buffer.length) throw new MalformedBytes("ends early");
    const text = this.buffer.toString("utf8", this.at, end);
    this.at = end;
    return text;
  }

  value(): CellValue {
    const tag = this.byte();
    if (tag >= 1 && tag <= 8) {
      const at = this.at;
      this.at += tag;
      if (this.at > this.buffer.length) throw new MalformedBytes("ends early");
      if (tag <= 6) return BigInt(this.buffer.readIntBE(at, tag));
      if (tag === 8) return this.buffer.readBigInt64BE(at);
      throw new MalformedBytes("unknown integer width");
    }
    switch (tag) {
      case Tag.null:
        return null;
      case Tag.text: {
        const length = this.varint();
        if (!this.keepsLong || length < LONG_TEXT_BYTES) return this.textOf(length);
        const bytes = this.bytes(length);
        return isUtf8(bytes) ? new LongText(bytes) : bytes.toString("utf8");
      }
      case Tag.real: {
        const at = this.at;
        this.at += 8;
        if (this.at > this.buffer.length) throw new MalformedBytes("ends early");
        return this.buffer.readDoubleBE(at);
      }
      case Tag.blob:
        return ownBytes(this.block());
      case Tag.rawText:
        return new RawText(ownBytes(this.block()));
      case Tag.ref: {
        const origin = this.varint();
        return new Ref(origin, this.varint());
      }
      default:
        throw new MalformedBytes(`unknown storage class ${tag}`);
    }
  }
}

/** Bytes of the length of a text that has at most `most` bytes. */
const lengthWidth = (most: number): number => (most < 128 ? 1 : most < 16_384 ? 2 : most < 2_097_152 ? 3 : 5);

/** Text of `LONG_TEXT_BYTES` has a third as many UTF-16 units or more. */
const LONG_TEXT_WIDTH = lengthWidth(LONG_TEXT_BYTES);

/** A small value must not keep the whole batch in memory; a large one is most of it. */
function ownBytes(view: Buffer): Buffer {
  return view.length >= LARGE_VALUE_BYTES ? view : Buffer.from(view);
}
