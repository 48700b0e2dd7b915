import { type ByteReader, type ByteWriter, type CellValue, MalformedBytes, Ref } from "./bytes.ts";
import { LongText, RawText } from "./exchange.ts";
import { type Causality, compareWrites, knew, rootOf, winnerOf, type Write } from "./merge.ts";
import { isCombining, type Rule } from "./rules.ts";

/** What the run `origin` has added to a counter in all, up to its write `sequence`. */
export interface Total {
  origin: number;
  sequence: number;
  sum: bigint | number;
}

/** An element of a set as canonical JSON, with the writes that added it. */
export interface Member {
  element: string;
  dots: readonly { origin: number; sequence: number }[];
}

/**
 * What a write under a combining rule says beyond its value: everything its author knew to be in it. A counter's `base` is
 * what the row had before it took part: the same in all copies, so that it counts once; null where it was born later.
 */
export type Tally =
  | { kind: "counter"; base: bigint | number | null; totals: readonly Total[] }
  | { kind: "set"; members: readonly Member[] };

/** A write whose value is at hand. Without a tally it was made under another rule, or by a birth that replaced nothing. */
export interface RuledWrite extends Write {
  value: CellValue;
  tally?: Tally | undefined;
}

/** What the rules ask about origins, beyond their order. */
export interface Authorship extends Causality {
  /** Name of the node that an origin ran on. */
  authorOf(origin: number): string;
}

/** What concurrent writes of a column come to. */
export interface Verdict<W> {
  value: CellValue;
  /** The write that has the value, or would have it by the latest time. */
  winner: W;
  /** Writes whose value is nowhere in the outcome: conflicts. */
  lost: readonly W[];
}

/** A pure function of the set of writes: the same in whatever order they came. `writes` are those nobody who wrote later knew. */
export function decide<W extends RuledWrite>(rule: Rule, writes: readonly W[], causality: Authorship): Verdict<W> {
  const latest = winnerOf(writes, causality) as W;
  const chosen = (winner: W): Verdict<W> => ({ value: winner.value, winner, lost: writes.filter((write) => write !== winner) });
  if (writes.length === 1 || rule.kind === "lww") return chosen(latest);
  if (rule.kind === "prefer")
    return chosen(best(writes, (a, b) => rankOf(rule.authors, b, causality) - rankOf(rule.authors, a, causality), causality));
  if (rule.kind === "max" || rule.kind === "min") {
    const sign = rule.kind === "max" ? 1 : -1;
    return { ...chosen(best(writes, (a, b) => sign * compareValues(a.value, b.value), causality)), lost: [] };
  }
  // A write that does not say what it changed, or is of another type, cannot be combined: people decide.
  if (!writes.every((write) => isCombinable(rule, write))) return chosen(latest);
  const joined = joinTallies(rule.kind, writes, causality);
  return { value: joined.kind === "counter" ? sumOf(joined, causality) : textOf(joined.members), winner: latest, lost: [] };
}

function rankOf(authors: readonly string[], { origin }: Write, causality: Authorship): number {
  const at = authors.indexOf(causality.authorOf(origin));
  return at < 0 ? authors.length : at;
}

function best<W extends Write>(writes: readonly W[], compare: (a: W, b: W) => number, causality: Causality): W {
  return writes.reduce((a, b) => ((compare(b, a) || compareWrites(b, a, causality)) > 0 ? b : a));
}

function isCombinable({ kind }: Rule, { tally, value }: { value: CellValue; tally?: Tally | undefined }): boolean {
  if (tally?.kind !== kind) return false;
  if (tally.kind === "set") return elementsOf(value) !== null;
  return isNumber(value) && tally.totals.every(({ sum }) => typeof sum === "bigint" || Math.abs(sum) < Number.MAX_VALUE);
}

// ---- SQLite's comparison

const classOf = (value: CellValue): number => {
  if (value === null) return 0;
  if (typeof value === "bigint" || typeof value === "number") return 1;
  if (typeof value === "string" || value instanceof RawText) return 2;
  return 3;
};

const bytesOf = (value: CellValue): Uint8Array => {
  if (typeof value === "string") return Buffer.from(value, "utf8");
  if (value instanceof RawText) return value.bytes;
  return value instanceof Ref ? Buffer.from(`${value.origin}:${value.sequence}`) : (value as Uint8Array);
};

/** As SQLite orders values without a collation: NULL, numbers, text by its bytes, blobs. */
export function compareValues(a: CellValue, b: CellValue): number {
  const classes = classOf(a) - classOf(b);
  if (classes !== 0 || a === null) return classes;
  // Between bigint and number the language compares exactly.
  if (classOf(a) === 1) return (a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0;
  return Buffer.compare(bytesOf(a), bytesOf(b));
}

// ---- what a write says

/**
 * The tally of a write of `value` that replaces `replaced`, the register as its author knew it: under `counter` this run's
 * total moves by the difference, under `set` this write added what was not there. `value` may be of any type.
 */
export function tallyOf(
  kind: Tally["kind"],
  value: CellValue,
  dot: { origin: number; sequence: number },
  replaced: readonly RuledWrite[],
  causality: Causality,
): Tally {
  const known = joinTallies(kind, baseOf(kind, replaced, causality), causality);
  if (known.kind === "counter") {
    const others = known.totals.filter(({ origin }) => origin !== dot.origin);
    const sum = bounded(subtract(numberOf(value), sumOf({ base: known.base, totals: others }, causality)));
    return { kind: "counter", base: known.base, totals: [...others, { ...dot, sum }] };
  }
  const dotsOf = new Map(known.members.map(({ element, dots }) => [element, dots]));
  return { kind: "set", members: (elementsOf(value) ?? []).map((element) => ({ element, dots: dotsOf.get(element) ?? [dot] })) };
}

/** What writes of a column come to where all of them say what they changed. */
export function comesTo(kind: Tally["kind"], writes: readonly RuledWrite[], causality: Causality): CellValue {
  const joined = joinTallies(kind, writes, causality);
  return joined.kind === "counter" ? sumOf(joined, causality) : textOf(joined.members);
}

/**
 * The tally of a write, `told`, that says of a column by its new name what was written by the former one, and beside it what births wrote by
 * the new one. Of such a birth nothing else counts: by the former name it wrote nothing.
 */
export function withBirths(told: Tally, births: readonly RuledWrite[], causality: Causality): { tally: Tally; value: CellValue } {
  const own = births.map((birth) => ownTally(told.kind, birth, causality));
  if (told.kind === "counter") {
    const theirs = own.flatMap((tally) => (tally as Tally & { kind: "counter" }).totals);
    const isOlder = (total: Total) => theirs.some(({ origin, sequence }) => origin === total.origin && sequence >= total.sequence);
    const left = told.totals.filter((total) => !isOlder(total));
    const fresh = theirs.filter(({ origin }) => left.every((total) => total.origin !== origin));
    const tally = { ...told, totals: [...left, ...fresh] };
    return { tally, value: sumOf(tally, causality) };
  }
  const members = new Map(told.members.map(({ element, dots }) => [element, dots]));
  for (const { element, dots } of own.flatMap((tally) => (tally as Tally & { kind: "set" }).members))
    members.set(element, [...(members.get(element) ?? []), ...dots]);
  const tally: Tally = { kind: "set", members: [...members].map(([element, dots]) => ({ element, dots })) };
  return { tally, value: textOf(tally.members) };
}

/** The writes whose value a register shows: all that are combined, else the latest. */
function baseOf(kind: Tally["kind"], writes: readonly RuledWrite[], causality: Causality): readonly RuledWrite[] {
  const latest = winnerOf(writes, causality);
  return latest && losersAmong({ kind }, writes) > 0 ? [latest] : writes;
}

/** A write without a tally of this kind put in all that its value holds. */
function ownTally(kind: Tally["kind"], { tally, value, origin: named, sequence, time }: RuledWrite, causality: Causality): Tally {
  if (tally?.kind === kind) return tally;
  // The same under every name that the write has: it has put in once what it holds.
  const origin = rootOf(named, causality);
  if (kind === "counter" && time === BEFORE_TAKING_PART) return { kind, base: numberOf(value), totals: [] };
  // One that put in nothing may have put in something by another name of the column, which others then say.
  if (kind === "counter")
    return { kind, base: null, totals: Number(numberOf(value)) === 0 ? [] : [{ origin, sequence, sum: numberOf(value) }] };
  return { kind, members: (elementsOf(value) ?? []).map((element) => ({ element, dots: [{ origin, sequence }] })) };
}

/** Everything that concurrent writes put in and none of them took out. */
function joinTallies(kind: Tally["kind"], writes: readonly RuledWrite[], causality: Causality): Tally {
  const ordered = [...writes].sort((a, b) => compareWrites(b, a, causality));
  if (kind === "counter") {
    const latest = new Map<number, Total>();
    let base: bigint | number | null = null;
    for (const write of ordered) {
      const own = ownTally(kind, write, causality) as Tally & { kind: "counter" };
      // Copies that moved apart before they took part: the greater.
      if (compareValues(own.base, base) > 0) base = own.base;
      for (const total of own.totals) {
        const held = latest.get(total.origin);
        // One write has one total, but for damage: then the greater counts.
        const order = held ? total.sequence - held.sequence || compareValues(total.sum, held.sum) : 1;
        if (order > 0) latest.set(total.origin, total);
      }
    }
    return { kind, base, totals: [...latest.values()] };
  }
  const sides = ordered.map((write) => ({ write, members: (ownTally(kind, write, causality) as Tally & { kind: "set" }).members }));
  const holds = sides.map(({ members }) => new Set(members.flatMap(({ element, dots }) => dots.map((dot) => nameOf(element, dot)))));
  const joined = new Map<string, Map<string, Member["dots"][number]>>();
  for (const { members } of sides) {
    for (const { element, dots } of members) {
      for (const dot of dots) {
        // Who knew that it was added and does not hold it has taken it out.
        const takenOut = sides.some(
          ({ write }, at) => !holds[at]?.has(nameOf(element, dot)) && knew(write, dot.origin, dot.sequence, causality),
        );
        if (takenOut) continue;
        let kept = joined.get(element);
        if (!kept) joined.set(element, (kept = new Map()));
        kept.set(`${dot.origin}:${dot.sequence}`, dot);
      }
    }
  }
  return { kind, members: [...joined].map(([element, dots]) => ({ element, dots: [...dots.values()] })) };
}

const nameOf = (element: string, { origin, sequence }: { origin: number; sequence: number }) => `${origin}:${sequence}:${element}`;

// ---- counters

/** Timestamp of births that were there before the database took part. */
const BEFORE_TAKING_PART = 0;

const LARGEST = 2n ** 63n - 1n;

const isNumber = (value: CellValue): value is bigint | number => typeof value === "bigint" || Number.isFinite(value);

/** Totals that were written before they were bounded may be infinite. */
const isTotal = (value: CellValue): value is bigint | number =>
  typeof value === "bigint" || (typeof value === "number" && !Number.isNaN(value));

const numberOf = (value: CellValue): bigint | number => (isNumber(value) ? value : 0n);

/** As SQLite adds: what is too large for 64 bits becomes a real. */
const fit = (sum: bigint): bigint | number => (sum > LARGEST || sum < -LARGEST - 1n ? Number(sum) : sum);

const subtract = (a: bigint | number, b: bigint | number): bigint | number =>
  typeof a === "bigint" && typeof b === "bigint" ? fit(a - b) : Number(a) - Number(b);

/**
 * A total beyond every double, as from 1e308 to -1.7e308, is the greatest one: a number, and one that says that this
 * counter cannot be combined until its run writes it again.
 */
const bounded = (sum: bigint | number): bigint | number =>
  typeof sum === "bigint" ? sum : Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, sum));

/** Integers exactly, reals in the order of origins that all agree on, so that all round alike. */
function sumOf({ base, totals }: { base: bigint | number | null; totals: readonly Total[] }, causality: Causality): bigint | number {
  let whole = typeof base === "bigint" ? base : 0n;
  const reals: Total[] = [];
  for (const total of totals) {
    if (typeof total.sum === "bigint") whole += total.sum;
    else reals.push(total);
  }
  if (reals.length === 0 && typeof base !== "number") return fit(whole);
  return reals
    .sort((a, b) => causality.compareOrigins(a.origin, b.origin))
    .reduce((sum, real) => sum + (real.sum as number), Number(whole) + (typeof base === "number" ? base : 0));
}

// ---- sets

/** SQLite's own limit for nested JSON is 1000. */
const DEEPEST = 500;

/** A number as it is written: digits that a double would lose make a difference. */
class Digits {
  readonly source: string;
  constructor(source: string) {
    this.source = source;
  }
}

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;
const keepDigits: Reviver = (_key, value, { source }) => (typeof value === "number" ? new Digits(source ?? String(value)) : value);

/** The different elements of a JSON array in their order, each as canonical JSON; null for anything else. */
export function elementsOf(value: CellValue): string[] | null {
  if (typeof value !== "string" && !(value instanceof LongText)) return null;
  try {
    const parsed: unknown = JSON.parse(String(value), keepDigits as (key: string, value: unknown) => unknown);
    return Array.isArray(parsed) ? [...new Set(parsed.map((element) => canonical(element, 0)))] : null;
  } catch {
    return null;
  }
}

function canonical(value: unknown, depth: number): string {
  if (depth > DEEPEST) throw new RangeError("nested too deeply");
  if (value instanceof Digits) return value.source;
  if (Array.isArray(value)) return `[${value.map((part) => canonical(part, depth + 1)).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, part]) => `${JSON.stringify(name)}:${canonical(part, depth + 1)}`).join(",")}}`;
}

const textOf = (members: readonly Member[]): string => `[${members.map(({ element }) => element).join(",")}]`;

/** How many writes of a register are conflicts. Values of all writes are at hand where the rule combines them. */
export function losersAmong(rule: Rule, writes: readonly { value: CellValue; tally?: Tally | undefined }[]): number {
  if (writes.length < 2 || rule.kind === "max" || rule.kind === "min") return 0;
  const combined = isCombining(rule) && writes.every((write) => isCombinable(rule, write));
  return combined ? 0 : writes.length - 1;
}

// ---- packed

/** Packs a tally; `as` says how origins and numbers are written. */
export function putTally(tally: Tally, out: ByteWriter, as: { origin(origin: number): void; value(value: CellValue): void }): void {
  const dot = ({ origin, sequence }: { origin: number; sequence: number }) => {
    as.origin(origin);
    out.varint(sequence);
  };
  if (tally.kind === "counter") {
    out.byte(1);
    as.value(tally.base);
    out.varint(tally.totals.length);
    for (const total of tally.totals) {
      dot(total);
      as.value(total.sum);
    }
  } else {
    out.byte(2);
    out.varint(tally.members.length);
    for (const { element, dots } of tally.members) {
      out.text(element);
      out.varint(dots.length);
      dots.forEach(dot);
    }
  }
}

/** The inverse. Throws MalformedBytes. */
export function takeTally(from: ByteReader, as: { origin(): number; value(): CellValue }): Tally {
  const kind = from.byte();
  const dot = () => ({ origin: as.origin(), sequence: from.varint() });
  const list = <T>(read: () => T): T[] => {
    const length = from.varint();
    if (length > from.buffer.length) throw new MalformedBytes("ends early");
    return Array.from({ length }, read);
  };
  if (kind === 1) {
    const base = as.value();
    if (base !== null && !isNumber(base)) throw new MalformedBytes("a base is no number");
    const totals = list((): Total => {
      const at = dot();
      const sum = as.value();
      if (!isTotal(sum)) throw new MalformedBytes("a total is no number");
      return { ...at, sum: bounded(sum) };
    });
    return { kind: "counter", base, totals };
  }
  if (kind !== 2) throw new MalformedBytes("unknown kind of tally");
  return { kind: "set", members: list((): Member => ({ element: from.text(), dots: list(dot) })) };
}
