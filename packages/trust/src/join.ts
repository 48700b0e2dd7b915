import { createHash, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { connect, type DetailedPeerCertificate, type TLSSocket } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { SyncError } from "@scoutsync/core";
import { createClient, FleetClient, unary } from "@scoutsync/protocol";
import { parseAddress } from "@scoutsync/runtime";
import { readIfThere, writePrivately } from "./fleet-folder.ts";
import { parseJoinCode, type JoinCode } from "./join-code.ts";
import { storeIdentity, Trust, type Contact } from "./trust.ts";
import { createRequest } from "./x509.ts";

const CONNECT_MS = 5_000;
const JOIN_MS = 20_000;

/**
 * Becomes a member by a join code and keeps the identity in `dataDirectory`. Where that belongs to the same fleet already,
 * nothing is asked, so that a service may be started again with the same words; with another code than the last one, or a certificate
 * that has run out, it joins anew, as who was put out has to, and stays who it is where that is refused. Throws INVALID_ARGUMENT
 * for a bad code or a directory of another fleet, PEER_UNREACHABLE, and what the authority refuses with.
 */
export async function joinFleet(dataDirectory: string, codeText: string, own: { nodeId: string; name: string }): Promise<Trust> {
  const code = parseJoinCode(codeText);
  const present = Trust.open(dataDirectory);
  if (present && !fingerprintOf(present.ca.raw).equals(code.fingerprint)) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `${dataDirectory} belongs to another fleet than this join code`,
      action: "Give another directory with --data, or remove its folder `fleet` to leave the other one.",
    });
  }
  const codeMark = join(dataDirectory, "fleet", "joined-with");
  const mark = createHash("sha256").update(codeText).digest("hex");
  if (present && !asksAnew(present, readIfThere(codeMark) ?? mark, mark)) return present;
  let failure: unknown;
  for (const address of code.addresses) {
    try {
      await joinAt(address, code, dataDirectory, own);
      writePrivately(codeMark, mark);
      const trust = Trust.open(dataDirectory);
      if (trust) return trust;
    } catch (error) {
      failure = error;
      if (error instanceof SyncError && error.code !== "PEER_UNREACHABLE") break;
    }
  }
  // It goes on with what it has, which says by itself what is wrong with it.
  if (present) return present;
  throw failure;
}

function asksAnew(present: Trust, last: string, mark: string): boolean {
  if (last !== mark) return true;
  try {
    present.check(present.identity);
    return false;
  } catch (error) {
    if (error instanceof SyncError) return true;
    throw error;
  }
}

async function joinAt(address: string, code: JoinCode, dataDirectory: string, own: { nodeId: string; name: string }): Promise<void> {
  const ca = await caAt(address, code.fingerprint);
  // From here on TLS itself checks that the other side is of the fleet that the code names.
  const channel = credentials.createSsl(Buffer.from(ca), null, null, { checkServerIdentity: () => undefined });
  const client = createClient(address, FleetClient, channel);
  try {
    const { key, request } = await createRequest();
    const asked = { secret: code.secret, certificateRequest: request, ...own };
    const { admission } = await unary(client, "join", asked, { deadlineMs: JOIN_MS });
    const role: Contact["role"] = admission?.contactRole === "coordinator" ? "coordinator" : "node";
    const certificate = admission?.certificate ?? "";
    storeIdentity(dataDirectory, { key, certificate, ca, revocations: admission?.revocations, contact: { role, address } });
  } finally {
    client.close();
  }
}

/** The certificate with this fingerprint that the service at an address shows, in PEM. Nothing is sent to it. */
async function caAt(address: string, fingerprint: Uint8Array): Promise<string> {
  let shown: DetailedPeerCertificate[];
  try {
    shown = await shownBy(address, (chain) => chain);
  } catch (error) {
    throw new SyncError({
      code: "PEER_UNREACHABLE",
      message: `the fleet's authority cannot be reached at ${address}: ${error instanceof Error ? error.message : String(error)}`,
      action: "Start the service that the fleet was made for, or make a code with `scoutsync invite --address HOST:PORT`.",
      cause: error,
    });
  }
  const ca = shown.find(({ raw }) => fingerprintOf(raw).equals(fingerprint));
  if (ca) return new X509Certificate(ca.raw).toString();
  throw new SyncError({
    code: "UNAUTHENTICATED",
    message: `the service at ${address} is not of the fleet that this join code is for`,
    action: "Check the address; if it is right, somebody may be in between: do not go on.",
  });
}

/** What `look` makes of the certificates that the service at an address shows, its own first. */
async function shownBy<T>(address: string, look: (chain: DetailedPeerCertificate[]) => T): Promise<T> {
  const { host, port } = parseAddress(address) ?? { host: "", port: 0 };
  const socket = connect({
    host,
    port,
    servername: "scoutsync",
    rejectUnauthorized: false,
    ALPNProtocols: ["h2", "http/1.1"],
    minVersion: "TLSv1.3",
  });
  try {
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no answer within ${CONNECT_MS / 1_000} s`)), CONNECT_MS);
      const settle = (error?: Error) => {
        clearTimeout(late);
        if (error) reject(error);
        else resolve();
      };
      socket.once("secureConnect", () => settle());
      socket.once("error", settle);
      socket.once("close", () => settle(new Error("the connection was closed")));
    });
    return look(chainOf(socket));
  } finally {
    socket.destroy();
  }
}

function chainOf(socket: TLSSocket): DetailedPeerCertificate[] {
  const chain: DetailedPeerCertificate[] = [];
  let shown: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (shown?.raw && !chain.includes(shown)) {
    chain.push(shown);
    // The last one names itself as its issuer.
    shown = shown.issuerCertificate;
  }
  return chain;
}

function fingerprintOf(der: Uint8Array): Buffer {
  return createHash("sha256").update(der).digest();
}

/**
 * The fingerprints (`AA:BB:…`, SHA-256) of the certificates that the service at an address shows; null where nobody answers
 * or what answers does not speak TLS. Nothing is sent to it.
 */
export async function shownAuthorities(address: string): Promise<string[] | null> {
  try {
    return await shownBy(address, (chain) => chain.map(({ raw }) => new X509Certificate(raw).fingerprint256));
  } catch {
    // Whoever dials next says what is wrong.
    return null;
  }
}
