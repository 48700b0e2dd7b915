import {
  Metadata,
  connectivityState,
  credentials,
  type CallOptions,
  type Client,
  type ClientUnaryCall,
  type ClientDuplexStream,
  type ClientOptions,
  type ChannelCredentials,
  type Interceptor,
} from "@grpc/grpc-js";
import { connect } from "node:net";
import type { BulkDial } from "./bulk-connection.ts";
import { SyncNodeService } from "../gen/scoutsync/v1/sync_node.ts";
import { syncNodeService } from "./bulk-codec.ts";
import { asleep, fromStatus, type Callee } from "./status.ts";

/** With the 64 KiB default one stream moves 2 MB/s at a round trip of 20 ms; the window must hold bandwidth × delay. */
const FLOW_CONTROL_WINDOW_BYTES = 8 * 1024 * 1024;
/** A single row may be larger than a batch is meant to be; beyond this a batch travels in parts. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** A frozen peer answers nothing and closes nothing: only pings find it. */
const CLIENT_KEEPALIVE_TIME_MS = 20_000;
const CLIENT_KEEPALIVE_TIMEOUT_MS = 10_000;
/**
 * Before the first word of a new connection no ping is sent, and whoever sleeps has connections taken by the system: so many
 * looks find nobody there, or one where that was found before. Time in which this process slept itself counts as one.
 */
const LOOKS_FOR_FIRST_WORD = 5;
const LOOK_EVERY_MS = 6_000;
/** Callers pace their own attempts, so the channel's pauses only have to stay below theirs. */
const FIRST_RECONNECT_MS = 100;
const MAX_RECONNECT_MS = 2_000;
/** A unary call that names no deadline gets this one. */
export const DEFAULT_DEADLINE_MS = 30_000;

/** What a fleet's services are called where TLS wants a name; addresses are not allowed there. */
export const TLS_NAME = "scoutsync";

type AuthContext = NonNullable<ReturnType<ClientUnaryCall["getAuthContext"]>>;

export interface MethodShape {
  path: string;
  requestStream: boolean;
  responseStream: boolean;
  requestSerialize: (value: never) => Buffer;
  requestDeserialize: (value: Buffer) => unknown;
  responseSerialize: (value: never) => Buffer;
  responseDeserialize: (value: Buffer) => unknown;
}
export type ServiceShape = Record<string, MethodShape>;

/** A generated client class: `SyncNodeClient`, `CoordinatorClient`. */
export interface ClientClass<S> {
  new (address: string, channelCredentials: ChannelCredentials, options?: Partial<ClientOptions>): Client;
  service: S;
  serviceName: string;
}

/** A typed channel to one address; connects when first used and reconnects by itself. */
export interface ServiceClient<S> extends Callee {
  readonly service: S;
  readonly channel: Client;
  /** Throws FORBIDDEN when the service with this certificate (DER) may not answer as that node. Not there where nobody shows one. */
  readonly checkAnswersAs?: (certificate: Uint8Array, nodeId: string) => void;
  /** Opens a connection beside the channel, to the same address and secured in the same way. Not there where nobody can. */
  readonly dialBulk?: BulkDial;
  close(): void;
}

/** Opens a channel to `host:port`. Who hands it around decides how it is secured. */
export type Dial = <S extends ServiceShape>(address: string, clientClass: ClientClass<S>) => ServiceClient<S>;

export type RequestOf<S, M extends keyof S> = S[M] extends { requestDeserialize: (value: Buffer) => infer R } ? R : never;
export type ResponseOf<S, M extends keyof S> = S[M] extends { responseDeserialize: (value: Buffer) => infer R } ? R : never;
type MethodsOf<S, Q extends boolean, P extends boolean> = {
  [M in keyof S]: S[M] extends { requestStream: Q; responseStream: P } ? M : never;
}[keyof S] &
  string;

export interface StreamOptions {
  /** Ends the call; the caller then gets the signal's reason thrown. */
  signal?: AbortSignal | undefined;
  /** Milliseconds for the whole call; streams have none unless told. */
  deadlineMs?: number | undefined;
  /** Gets the call when it has begun. */
  onCall?: ((call: AnsweredCall) => void) | undefined;
}

/** A call as far as it tells who answers. */
export interface AnsweredCall {
  getAuthContext(): AuthContext | null;
}

/** Opens a channel to `host:port`. Nothing is sent before the first call; `close` ends every call on it. */
export function createClient<S extends ServiceShape>(
  address: string,
  clientClass: ClientClass<S>,
  channelCredentials?: ChannelCredentials,
  interceptors: readonly Interceptor[] = [],
): ServiceClient<S> {
  const channel = new clientClass(address, channelCredentials ?? credentials.createInsecure(), {
    // A certificate of a fleet says who somebody is, not where: nodes move. Without TLS this says nothing.
    "grpc.ssl_target_name_override": TLS_NAME,
    "grpc-node.flow_control_window": FLOW_CONTROL_WINDOW_BYTES,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": CLIENT_KEEPALIVE_TIME_MS,
    "grpc.keepalive_timeout_ms": CLIENT_KEEPALIVE_TIMEOUT_MS,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.initial_reconnect_backoff_ms": FIRST_RECONNECT_MS,
    "grpc.min_reconnect_backoff_ms": FIRST_RECONNECT_MS,
    "grpc.max_reconnect_backoff_ms": MAX_RECONNECT_MS,
    // Shared subchannels would share another caller's backoff: a node that just came back would look dead.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_channelz": 0,
    // Proxies from the environment are for the internet; a fleet's nodes are dialled directly.
    "grpc.enable_http_proxy": 0,
    ...(interceptors.length > 0 && { interceptors: [...interceptors] }),
  });
  return {
    address,
    role: clientClass.serviceName.endsWith(".Coordinator") ? "coordinator" : "peer",
    service: (clientClass.service as ServiceShape) === SyncNodeService ? (syncNodeService as never) : clientClass.service,
    channel,
    ...(!channelCredentials && { dialBulk: (onread) => connect({ ...hostAndPort(address), noDelay: true, onread }) }),
    close: () => channel.close(),
  };
}

/** What a socket is connected with for `host:port`. */
export function hostAndPort(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, "$1") || "127.0.0.1", port: Number(address.slice(colon + 1)) };
}

/** One request, one response. Throws a SyncError, or the signal's reason when it aborts. */
export function unary<S extends ServiceShape, M extends MethodsOf<S, false, false>>(
  client: ServiceClient<S>,
  method: M,
  request: RequestOf<S, M>,
  { signal, deadlineMs = DEFAULT_DEADLINE_MS, onCall }: StreamOptions = {},
): Promise<ResponseOf<S, M>> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const definition = methodOf(client, method);
    const abort = () => call.cancel();
    const call: ClientUnaryCall = client.channel.makeUnaryRequest(
      definition.path,
      definition.requestSerialize as (value: RequestOf<S, M>) => Buffer,
      definition.responseDeserialize as (value: Buffer) => ResponseOf<S, M>,
      request,
      new Metadata(),
      callOptions(deadlineMs),
      (error, response) => {
        signal?.removeEventListener("abort", abort);
        if (error) reject(whyOver(error));
        else resolve(response as ResponseOf<S, M>);
      },
    );
    const whyOver = reasonOf(call, client, signal);
    onCall?.(call);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/**
 * One request, many responses. The call starts at once and is cancelled when the iteration is left early or the signal
 * aborts. A consumer that is waiting for the next message must be stopped by the signal: `return()` would wait with it.
 */
export function serverStream<S extends ServiceShape, M extends MethodsOf<S, false, true>>(
  client: ServiceClient<S>,
  method: M,
  request: RequestOf<S, M>,
  { signal, deadlineMs, onCall }: StreamOptions = {},
): AsyncIterable<ResponseOf<S, M>> {
  signal?.throwIfAborted();
  const definition = methodOf(client, method);
  const call = client.channel.makeServerStreamRequest(
    definition.path,
    definition.requestSerialize as (value: RequestOf<S, M>) => Buffer,
    definition.responseDeserialize as (value: Buffer) => ResponseOf<S, M>,
    request,
    new Metadata(),
    callOptions(deadlineMs),
  );
  const whyOver = reasonOf(call, client, signal);
  onCall?.(call);
  return received(call, whyOver, signal);
}

/** An open stream in both directions. */
export interface Duplex<Q, P> {
  /** Resolves when the transport has taken the message off our hands; rejects when the call is over. */
  send(message: Q): Promise<void>;
  /** Says that nothing more will be sent. */
  end(): void;
  /** Drops the call. */
  cancel(): void;
  /** May be iterated once. Leaving it early cancels the call. */
  readonly responses: AsyncIterable<P>;
}

/** Many requests, many responses. */
export function bidi<S extends ServiceShape, M extends MethodsOf<S, true, true>>(
  client: ServiceClient<S>,
  method: M,
  { signal, deadlineMs, onCall }: StreamOptions = {},
): Duplex<RequestOf<S, M>, ResponseOf<S, M>> {
  signal?.throwIfAborted();
  const definition = methodOf(client, method);
  const call: ClientDuplexStream<RequestOf<S, M>, ResponseOf<S, M>> = client.channel.makeBidiStreamRequest(
    definition.path,
    definition.requestSerialize as (value: RequestOf<S, M>) => Buffer,
    definition.responseDeserialize as (value: Buffer) => ResponseOf<S, M>,
    new Metadata(),
    callOptions(deadlineMs),
  );
  const whyOver = reasonOf(call, client, signal);
  onCall?.(call);
  let over: Error | null = null;
  const waiting = new Set<() => void>();
  const finish = (error: Error) => {
    over ??= error;
    for (const wake of waiting) wake();
    waiting.clear();
  };
  call.on("error", finish);
  call.on("end", () => finish(new Error("the peer has ended the stream")));
  return {
    send: (message) =>
      new Promise<void>((resolve, reject) => {
        const settle = () => {
          waiting.delete(settle);
          if (over) reject(whyOver(over));
          else resolve();
        };
        if (over) return settle();
        // A write callback never comes once the call is over, so the call's end wakes waiters too.
        waiting.add(settle);
        call.write(message, settle);
      }),
    end: () => call.end(),
    cancel: () => call.cancel(),
    responses: received(call, whyOver, signal),
  };
}

/** Channels on which somebody has waited in vain for the first word of the connection that they still wait for. */
const unheard = new WeakSet<Client>();

/** Ends a call that waits for a connection on which nobody says a word, and says of each that ended with an error why it did. */
function reasonOf(
  call: { cancel(): void; once(event: "status", listener: () => void): unknown },
  client: ServiceClient<unknown>,
  signal: AbortSignal | undefined,
): (error: unknown) => Error {
  const { channel } = client;
  let silence: Error | null = null;
  let looks = unheard.has(channel) ? 1 : LOOKS_FOR_FIRST_WORD;
  const look = setInterval(() => {
    const state = channel.getChannel().getConnectivityState(false);
    if (state === connectivityState.CONNECTING && --looks > 0) return;
    clearInterval(look);
    // From the first word on pings find who is gone; a connection that failed has ended the call by itself.
    if (state !== connectivityState.CONNECTING) return void unheard.delete(channel);
    unheard.add(channel);
    silence = asleep(client, (LOOKS_FOR_FIRST_WORD * LOOK_EVERY_MS) / 1_000);
    call.cancel();
  }, LOOK_EVERY_MS);
  look.unref();
  call.once("status", () => clearInterval(look));
  return (error) => (signal?.aborted ? (signal.reason as Error) : (silence ?? fromStatus(error, client)));
}

function received<T>(
  call: AsyncIterable<T> & { cancel(): void; on(event: "error", listener: () => void): unknown },
  whyOver: (error: unknown) => Error,
  signal: AbortSignal | undefined,
): AsyncIterable<T> {
  // Errors come through the iterator; without a listener one that comes before or after it would end the process.
  call.on("error", () => {});
  const abort = () => call.cancel();
  signal?.addEventListener("abort", abort, { once: true });
  async function* iterate(): AsyncGenerator<T> {
    let finished = false;
    try {
      for await (const message of call) yield message;
      finished = true;
    } catch (error) {
      finished = true;
      throw whyOver(error);
    } finally {
      signal?.removeEventListener("abort", abort);
      // Neither `break` nor an error in the loop's body cancels a gRPC call by itself.
      if (!finished) call.cancel();
    }
  }
  return iterate();
}

function methodOf<S extends ServiceShape>(client: ServiceClient<S>, method: keyof S & string): MethodShape {
  return client.service[method] as MethodShape;
}

function callOptions(deadlineMs: number | undefined): CallOptions {
  return deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
}
