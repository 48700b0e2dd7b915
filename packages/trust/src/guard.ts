import type { TLSSocket } from "node:tls";
import type { Metadata, Server, ServerInterceptor } from "@grpc/grpc-js";
import { SyncError, toPlainError } from "@scoutsync/core";
import { actInterceptor, type Actor, type Audited } from "./acts.ts";
import type { AuditLog } from "./audit.ts";
import { memberKey, type Identity, type Role } from "./identity.ts";
import type { Trust } from "./trust.ts";

/** Timers of Node end after this. */
const LONGEST_TIMER_MS = 2_147_483_647;
/** Callers that have not shown who they are. */
const MOST_STRANGERS = 200;
/** Connections of one member: a channel needs one. */
const MOST_PER_MEMBER = 100;

/** How a coordinator says for whom it acts. */
export const ACTING_FOR = "scoutsync-acting-for";
const LONGEST_ACTOR = 200;

/** Who may make a call. "anyone" needs no certificate. */
export interface CallAccess<Q = never> {
  readonly roles: readonly Role[] | "anyone";
  /** It changes something that concerns the fleet or its data: written to the audit log. */
  readonly audited?: Audited<Q>;
  /** What a key must be good for; without one only keys without limits are. */
  readonly scope?: string;
  /**
   * Nodes that are limited to a part of the data may make it, too: because it is about membership, or because who serves it
   * shows them that part only. Refused where this is left out.
   */
  readonly limited?: "membership" | "exchange";
}

/** Somebody who may call: a member with a certificate, or the holder of a key. */
export interface Caller {
  readonly role: Role;
  /** For the audit log. */
  readonly who: string;
  /** Null for the holder of a key. */
  readonly identity: Identity | null;
}

export interface GuardOptions {
  trust: Trust;
  audit: AuditLog;
  /** By full path: `/scoutsync.v1.SyncNode/Ping`. What is not in it is refused. */
  access: ReadonlyMap<string, CallAccess>;
  /** Which scopes' nodes are shown their part here; left out where none are. */
  servesScope?: (scope: string) => boolean;
  /** Whose key a caller without a certificate shows; throws UNAUTHENTICATED, or FORBIDDEN for one of another scope. Left out where keys are not known. */
  keyHolder?: (key: string, scope: string | undefined) => Caller;
}

interface Connection {
  socket: TLSSocket;
  /** DER; null for a caller without a certificate. */
  certificate: Uint8Array | null;
  identity: Identity | null;
  expiry: NodeJS.Timeout | null;
}

/** Stands before every call of a server: who is it, may they, and are they still a member. */
export class Guard {
  readonly #options: GuardOptions;
  readonly #connections = new Map<string, Connection>();

  constructor(options: GuardOptions) {
    this.#options = options;
    options.trust.on("revoked", () => this.#lookAgain());
  }

  /** Goes into the server's options. */
  get interceptor(): ServerInterceptor {
    const { access, audit } = this.#options;
    return actInterceptor({
      audit,
      auditedOf: (path) => access.get(path)?.audited,
      admit: (path, peer, metadata) => this.admit(access.get(path), path, peer, metadata),
    });
  }

  /** Sees every connection of a server that does not listen yet. Throws INTERNAL where that cannot be done. */
  attach(server: Server): void {
    onConnection(server, (socket) => this.#opened(socket));
  }

  /** Who makes this call; null for one that needs no certificate. */
  callerOf(call: { getPeer(): string }): Identity | null {
    return this.#connections.get(call.getPeer())?.identity ?? null;
  }

  /**
   * Who makes the call; null where nobody needs to be known. Throws UNAUTHENTICATED or FORBIDDEN, both written to the audit
   * log, where who calls may not make this call.
   */
  admit(rule: CallAccess | undefined, path: string, peer: string, metadata: Metadata): Actor | null {
    const { audit, trust } = this.#options;
    if (rule?.roles === "anyone") return null;
    let who = peer;
    try {
      const caller = this.#caller(rule?.scope, peer, metadata);
      ({ who } = caller);
      // On its own machine a service's certificate may do what its operator may: who can read its key owns the files.
      const own = caller.identity !== null && memberKey(caller.identity) === memberKey(trust.identity);
      const permitted = rule && (rule.roles.includes(caller.role) || (own && rule.roles.includes("operator")));
      if (!permitted) {
        throw new SyncError({
          code: "FORBIDDEN",
          message: `${caller.role} may not call ${path}`,
          action: rule ? `Use an identity or key that is ${rule.roles.join(" or ")}.` : "Look at what the server offers.",
        });
      }
      if (!own) this.#checkLimits(path, rule, caller.identity);
      const [other] = caller.role === "coordinator" ? metadata.get(ACTING_FOR) : [];
      if (other !== undefined) who += ` for ${other.toString().slice(0, LONGEST_ACTOR)}`;
      const lookAgain = () => void this.admit(rule, path, peer, metadata);
      return { who, role: caller.role, own, ...(caller.identity === null && { lookAgain }) };
    } catch (error) {
      const { code, message } = toPlainError(error);
      audit.write({ who, what: path, outcome: "refused", details: `${code}: ${message}` });
      throw error;
    }
  }

  /** Nodes of a scope see a part through the server of the scope, and nobody's data comes to them or from them in another way. */
  #checkLimits(path: string, { limited }: CallAccess, caller: Identity | null): void {
    if (caller?.role !== "node") return;
    if (caller.scope !== null && limited === undefined) {
      throw new SyncError({
        code: "FORBIDDEN",
        message: `a node that is limited to a scope may not call ${path}`,
        action: "It syncs with the server of its scope, and does nothing else there.",
      });
    }
    if (caller.scope !== null && limited === "exchange" && this.#options.servesScope?.(caller.scope) !== true) {
      throw new SyncError({
        code: "FORBIDDEN",
        message: `this node does not serve the scope "${caller.scope}" that the caller is limited to`,
        action: "Sync with the server of that scope; it is started with --scopes.",
      });
    }
    if (this.#options.trust.identity.scope !== null && limited !== "membership") {
      throw new SyncError({
        code: "FORBIDDEN",
        message: "this node is limited to a scope, and serves no other node",
        action: "Sync with the server of the scope instead.",
      });
    }
  }

  #caller(scope: string | undefined, peer: string, metadata: Metadata): Caller {
    const { trust, keyHolder } = this.#options;
    const connection = this.#connections.get(peer);
    if (connection?.certificate) {
      connection.identity ??= trust.recognise(connection.certificate);
      const { identity } = connection;
      trust.check(identity);
      return { role: identity.role, identity, who: `${memberKey(identity)} (${identity.name})` };
    }
    const [authorization] = metadata.get("authorization");
    const key = /^Bearer (\S+)$/i.exec(authorization?.toString() ?? "")?.[1];
    if (key !== undefined && keyHolder) return keyHolder(key, scope);
    throw new SyncError({
      code: "UNAUTHENTICATED",
      message: "this call needs a certificate of the fleet",
      action: "Join it with a code from `scoutsync invite`, or name the folder of your identity with --identity.",
    });
  }

  #opened(socket: TLSSocket): void {
    // What `getPeer` of a call says.
    const key = `${socket.remoteAddress}:${socket.remotePort}`;
    const certificate = socket.getPeerX509Certificate()?.raw ?? null;
    const connection: Connection = { socket, certificate, identity: null, expiry: null };
    if (certificate === null && this.#strangers() >= MOST_STRANGERS) {
      socket.destroy();
      return;
    }
    this.#connections.set(key, connection);
    socket.once("close", () => {
      if (connection.expiry) clearTimeout(connection.expiry);
      if (this.#connections.get(key) === connection) this.#connections.delete(key);
    });
    if (certificate === null) return;
    try {
      connection.identity = this.#options.trust.recognise(certificate);
      if (this.#connectionsOf(connection.identity) > MOST_PER_MEMBER) {
        socket.destroy();
        return;
      }
      // A stream may last for weeks; who has a new certificate by then connects again.
      const leftMs = Math.min(connection.identity.validUntilMs - Date.now() + 1, LONGEST_TIMER_MS);
      connection.expiry = setTimeout(() => socket.destroy(), leftMs);
      connection.expiry.unref();
    } catch {
      // Its calls are refused with the reason.
    }
  }

  #connectionsOf(member: Identity): number {
    let count = 0;
    for (const { identity } of this.#connections.values()) if (identity && memberKey(identity) === memberKey(member)) count += 1;
    return count;
  }

  #strangers(): number {
    let count = 0;
    for (const { certificate } of this.#connections.values()) if (certificate === null) count += 1;
    return count;
  }

  /** Cuts everyone who is not a member any more. */
  #lookAgain(): void {
    const out = [...this.#connections.values()].flatMap(({ socket, identity }) =>
      identity !== null && this.#options.trust.revocations.includes(identity) ? [{ socket, identity }] : [],
    );
    // The socket, not its HTTP/2 session: that would wait for the other side to agree. All before the first line: a disk may be full.
    for (const { socket } of out) socket.destroy();
    for (const { identity } of out) {
      const who = `${memberKey(identity)} (${identity.name})`;
      this.#options.audit.write({ who, what: "connection", outcome: "refused", details: "put out of the fleet: cut" });
    }
  }
}

interface ServerInternals {
  createHttp2Server?: (credentials: unknown) => { on(event: "secureConnection", listener: (socket: TLSSocket) => void): unknown };
}

/** grpc-js shows nobody its connections, so this reaches into the server. */
function onConnection(server: Server, listener: (socket: TLSSocket) => void): void {
  const internals = server as unknown as ServerInternals;
  const create = internals.createHttp2Server?.bind(server);
  if (!create) {
    throw new SyncError({
      code: "INTERNAL",
      message: "this version of @grpc/grpc-js does not show its connections, so nobody could be put out",
      action: "Install the version that package-lock.json names.",
    });
  }
  internals.createHttp2Server = (credentials) => {
    const http2Server = create(credentials);
    http2Server.on("secureConnection", listener);
    return http2Server;
  };
}
