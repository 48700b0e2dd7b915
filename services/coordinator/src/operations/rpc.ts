import type { z } from "zod";
import type { CoordinatorService, Plain, PlainRequest } from "@scoutsync/protocol";
import type { Role } from "@scoutsync/trust";

type Calls = typeof CoordinatorService;
/** Calls that nobody asks for by hand: what nodes and workers say, streams, and the one that stands for all of the table. */
export type ServiceCall = "register" | "heartbeat" | "acquireLease" | "reportSession" | "ask" | "watch";
/** Calls that are operations of the table. */
export type OperationCall = Exclude<keyof Calls, ServiceCall>;
type RequestOf<K extends OperationCall> = PlainRequest<ReturnType<Calls[K]["requestDeserialize"]>>;
type ResponseOf<K extends OperationCall> = Plain<ReturnType<Calls[K]["responseDeserialize"]>>;

interface Binding<K extends OperationCall, A> {
  /** Its name in the generated code. */
  call: K;
  /** Services that make it beside people. */
  services?: readonly Role[];
  /** The fields of the operation, where the message names them otherwise; without it those that are not empty. */
  fields?(request: RequestOf<K>): Record<string, unknown>;
  /** The answer as the message has it. What is not in the message is left out; what the message has and is not here does not compile. */
  answer(answer: A, request: RequestOf<K>): ResponseOf<K>;
}

/** The call of its own that an operation has over gRPC, tied to its messages. */
export type RpcOf<A extends z.ZodType | null> = {
  [K in OperationCall]: Binding<K, A extends z.ZodType ? z.input<A> : null>;
}[OperationCall];

/** The same for whoever goes through the table and knows no messages. */
export interface Rpc {
  call: OperationCall;
  services?: readonly Role[];
  fields?(request: Readonly<Record<string, unknown>>): Record<string, unknown>;
  answer(answer: unknown, request: Readonly<Record<string, unknown>>): object;
}

/** For answers that are as the message has them. */
export function asItIs<T>(answer: T): T {
  return answer;
}

/** The fields that say something: the wire does not tell "empty" from "not said". */
export function filled(request: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(request).filter(([, value]) => value !== "" && value !== 0 && value !== "0" && value !== false));
}
