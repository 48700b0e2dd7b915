import { constants } from "node:crypto";
import type { OnReadOpts, Socket } from "node:net";
import { connect, createSecureContext, TLSSocket, type ConnectionOptions, type PeerCertificate, type SecureContextOptions } from "node:tls";
import { ChannelCredentials, credentials, InterceptingCall, ServerCredentials, type Interceptor } from "@grpc/grpc-js";
import { SyncError } from "@scoutsync/core";
import { createClient, hostAndPort, TLS_NAME, type Dial } from "@scoutsync/protocol";
import { actor } from "./acts.ts";
import { ACTING_FOR } from "./guard.ts";
import { memberKey, type Identity } from "./identity.ts";
import type { OwnCertificate, Trust } from "./trust.ts";
import { shareRevocations } from "./share.ts";
import { checkAnswersAs } from "./speakers.ts";

/** Both sides are ours. */
const PROTOCOL = { minVersion: "TLSv1.3" } as const;

function contextOf({ key, certificate, ca }: OwnCertificate): SecureContextOptions {
  // The CA goes along: one that joins knows only its fingerprint.
  return { ...PROTOCOL, key, cert: certificate + ca, ca };
}

/**
 * A server's side of mutual TLS, with the certificate of the day. A caller without a certificate gets through to the
 * guard, which lets it join or show a key, and nothing else; so does one with a bad certificate, to be told why.
 */
export class FleetServerCredentials extends ServerCredentials {
  constructor(trust: Trust) {
    // A resumed connection would skip the certificate.
    const options = { requestCert: true, rejectUnauthorized: false, secureOptions: constants.SSL_OP_NO_TICKET };
    super(options, contextOf(trust.own));
    trust.on("renewed", (own) => this.updateSecureContextOptions(contextOf(own)));
  }

  _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

type SecureConnector = ReturnType<ChannelCredentials["_createSecureConnector"]>;

/**
 * A client's side of mutual TLS: every new connection shows the certificate of the day and goes only to a node or
 * coordinator of the fleet, under whatever address; a connection to one that is put out is cut.
 */
export class FleetChannelCredentials extends ChannelCredentials {
  readonly #trust: Trust;
  readonly #open = new Map<TLSSocket, Uint8Array>();

  constructor(trust: Trust) {
    super();
    this.#trust = trust;
    trust.on("revoked", () => {
      for (const [socket, certificate] of this.#open) if (this.#refusal(certificate)) socket.destroy();
    });
  }

  _isSecure(): boolean {
    return true;
  }

  _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(...asked: Parameters<ChannelCredentials["_createSecureConnector"]>): SecureConnector {
    const connectorOfToday = () => {
      const context = createSecureContext(contextOf(this.#trust.own));
      const checkServerIdentity = (_host: string, { raw }: PeerCertificate) => this.#refusal(raw);
      return credentials.createFromSecureContext(context, { checkServerIdentity })._createSecureConnector(...asked);
    };
    const first = connectorOfToday();
    return {
      connect: async (socket: Socket) => {
        const connected = await connectorOfToday().connect(socket);
        if (connected.socket instanceof TLSSocket) this.#watch(connected.socket);
        return connected;
      },
      waitForReady: () => first.waitForReady(),
      getCallCredentials: () => first.getCallCredentials(),
      destroy: () => first.destroy(),
    };
  }

  /** A connection beside a channel: the same certificates, the same refusals. It names no protocol, and is none that gRPC speaks. */
  dialBulk(address: string, onread: OnReadOpts): Socket {
    // Node reads into `onread` under TLS as well; its types do not say so.
    const options: ConnectionOptions & { onread: OnReadOpts } = {
      ...hostAndPort(address),
      ...contextOf(this.#trust.own),
      servername: TLS_NAME,
      checkServerIdentity: (_host, { raw }) => this.#refusal(raw),
      rejectUnauthorized: true,
      onread,
    };
    const socket = connect(options);
    socket.once("secureConnect", () => this.#watch(socket));
    return socket;
  }

  #watch(socket: TLSSocket): void {
    this.#open.set(socket, socket.getPeerCertificate().raw);
    socket.once("close", () => this.#open.delete(socket));
  }

  #refusal(certificate: Uint8Array): Error | undefined {
    try {
      const peer = this.#trust.recognise(certificate);
      const { role } = peer;
      const own = this.#trust.identity;
      if (own.role === "node" && peer.scope !== null && memberKey(peer) !== memberKey(own)) return limited(peer);
      if (role === "node" || role === "coordinator") return undefined;
      return new Error(`the certificate is that of a ${role}, not of a service`);
    } catch (error) {
      return error instanceof SyncError ? error : new Error("the certificate cannot be read", { cause: error });
    }
  }
}

/** Whatever a node would send to a node of a scope, or take from it, goes past the server of the scope, which alone knows what it may. */
function limited({ name }: Identity): SyncError {
  return new SyncError({
    code: "FORBIDDEN",
    message: `"${name}" is limited to a scope: no node syncs with it`,
    action: "It syncs by itself with the server of its scope.",
  });
}

const channelCredentials = new WeakMap<Trust, FleetChannelCredentials>();

/** One object per member, so that channels to the same address share a connection. */
export function channelCredentialsOf(trust: Trust): FleetChannelCredentials {
  let known = channelCredentials.get(trust);
  if (!known) channelCredentials.set(trust, (known = new FleetChannelCredentials(trust)));
  return known;
}

/** Tells the other side who asked a coordinator for what it does. */
const tellActor: Interceptor = (options, nextCall) =>
  new InterceptingCall(nextCall(options), {
    start: (metadata, listener, next) => {
      const who = actor();
      if (who !== null) metadata.set(ACTING_FOR, who.replaceAll(/[^ -~]/g, "?"));
      next(metadata, listener);
    },
  });

/** How a member dials others: mutual TLS, and both tell each other who was put out for as long as the channel is open. */
export function dialAs(trust: Trust): Dial {
  return (address, clientClass) => {
    const own = channelCredentialsOf(trust);
    const client = createClient(address, clientClass, own, trust.identity.role === "coordinator" ? [tellActor] : []);
    const sharing = new AbortController();
    void shareRevocations(trust, client, sharing.signal);
    return {
      ...client,
      dialBulk: (onread) => own.dialBulk(address, onread),
      checkAnswersAs: (certificate, nodeId) => checkAnswersAs(trust, certificate, nodeId),
      close: () => {
        sharing.abort();
        client.close();
      },
    };
  };
}
