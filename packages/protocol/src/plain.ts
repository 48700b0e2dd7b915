import { readFileSync } from "node:fs";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import type { Value } from "../gen/scoutsync/v1/sync_node.ts";
import type { MethodShape } from "./client.ts";
import { CONTRACT } from "./reflection.ts";

/** `missingChanges` as the .proto file says it: `missing_changes`. */
type Snake<S extends string> = S extends `${infer Head}${infer Rest}`
  ? `${Head extends Lowercase<Head> ? Head : `_${Lowercase<Head>}`}${Snake<Rest>}`
  : S;

/** A SQLite value by its kind; integers as digits, blobs as base64. */
export type PlainValue =
  | { null: true }
  | { integer: string | number }
  | { real: number }
  | { text: string }
  | { blob: string }
  | { raw_text: string };

/** A message as JSON says it, by the names of the .proto file. null is "not said"; a field that is left out does not compile. */
export type Plain<T> = T extends undefined
  ? null | undefined
  : T extends bigint
    ? bigint extends T
      ? number | string | null
      : never
    : T extends string | number | boolean
      ? T | null
      : T extends Uint8Array
        ? string
        : T extends readonly (infer E)[]
          ? readonly Plain<E>[]
          : "kind" extends keyof T
            ? T extends Value
              ? PlainValue
              : PlainFields<T>
            : PlainFields<T>;
type PlainFields<T> = string extends keyof T
  ? readonly { key: string; value: Plain<T[string & keyof T]> }[]
  : { readonly [K in keyof T as Snake<K & string>]: Plain<T[K]> };

/** A message that came in: every field is there, 64-bit integers as digits. */
export type PlainRequest<T> = T extends bigint
  ? string
  : T extends string | number | boolean
    ? T
    : T extends readonly (infer E)[]
      ? readonly PlainRequest<E>[]
      : T extends object
        ? "kind" extends keyof T
          ? PlainValue | null
          : { readonly [K in keyof T as Snake<K & string>]: PlainRequest<T[K]> }
        : null;

/** The calls of a service by their names in the generated code, with messages as `Plain` says. */
export function plainCalls(service: string): Record<string, MethodShape> {
  const loaded = loadFileDescriptorSetFromBuffer(readFileSync(CONTRACT), { keepCase: true, longs: String, defaults: true });
  const calls = loaded[service] as unknown as Record<string, MethodShape>;
  return Object.fromEntries(Object.entries(calls).map(([name, call]) => [name.charAt(0).toLowerCase() + name.slice(1), call]));
}
