import type { z } from "zod";
import type { Need } from "../access/needs.ts";
import type { Core } from "../core.ts";
import type { Upkeep } from "../upkeep.ts";
import type { Rpc, RpcOf } from "./rpc.ts";

/** What an operation may use. */
export interface Scene {
  core: Core;
  upkeep: Upkeep;
  /** Aborts when nobody waits for the answer any more, or the service stops. */
  signal: AbortSignal;
}

/** One thing that can be asked of the coordinator. Routes, checks of input and the OpenAPI document come from it. */
export interface Operation<P extends z.ZodType = z.ZodType, Q extends z.ZodType = z.ZodType, B extends z.ZodType = z.ZodType> {
  /** Name in the OpenAPI document. */
  id: string;
  method: "GET" | "POST" | "PUT" | "DELETE";
  /** Who may ask, where the coordinator belongs to a fleet. */
  need: Need;
  /** With `{name}` for each field of `params`. */
  path: string;
  summary: string;
  /** The call of its own over gRPC, null where there is none: then `Ask` is the way. */
  rpc: Rpc | null;
  /** The command that does the same; `api` does whatever is in the table. */
  command: string;
  params: P;
  query: Q;
  body: B;
  /** Where bodies may be larger than usual. */
  bodyLimitBytes?: number;
  /** Null: there is no body in the answer. */
  answer: z.ZodType | null;
  /** Status of an answer that went well. */
  status: 200 | 201 | 204;
  run(scene: Scene, input: { params: z.output<P>; query: z.output<Q>; body: z.output<B> }): unknown;
}

/** The call by which an operation is asked for over gRPC, as the .proto file names it. */
export function rpcName({ rpc }: Operation): string {
  return rpc === null ? "Ask" : rpc.call.charAt(0).toUpperCase() + rpc.call.slice(1);
}

/** Ties the types of an operation's input to its schemas, and of its answer to what `run` returns. */
export function operation<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, A extends z.ZodType | null>(
  definition: Omit<Operation<P, Q, B>, "run" | "answer" | "rpc"> & {
    answer: A;
    rpc: RpcOf<A> | null;
    run(
      scene: Scene,
      input: { params: z.output<P>; query: z.output<Q>; body: z.output<B> },
    ): A extends z.ZodType ? z.input<A> | Promise<z.input<A>> : void | Promise<void>;
  },
): Operation {
  // Each call gets the messages that it was tied to.
  return { ...definition, rpc: definition.rpc as Rpc | null };
}
