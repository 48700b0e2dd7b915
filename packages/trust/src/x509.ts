import { createPrivateKey, KeyObject, randomBytes, type webcrypto } from "node:crypto";
import { SyncError } from "@scoutsync/core";
import { identityUri, serialNumber, type Membership } from "./identity.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNING = { name: "ECDSA", hash: "SHA-256" } as const;
const CA_YEARS = 20;
const YEAR_MS = 365.25 * 86_400_000;
/** Certificates are valid from a day before they were made: a machine whose clock is behind may use its own at once. */
const BACKDATED_MS = 86_400_000;

/** Loaded when a certificate is made, which most commands never do: it takes a quarter of a second. */
async function library() {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

/** A certificate authority of a new fleet: certificate and private key in PEM. */
export async function createCa(fleet: string, nowMs = Date.now()): Promise<{ certificate: string; key: string }> {
  const x509 = await library();
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(0, randomBytes(7)),
    name: `CN=scoutsync fleet ${fleet}`,
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + CA_YEARS * YEAR_MS),
    signingAlgorithm: SIGNING,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString("pem")}\n`, key: pemOf(keys.privateKey) };
}

/** A new key and a request for a certificate of it. The key is PEM and never leaves this machine. */
export async function createRequest(): Promise<{ key: string; request: Buffer }> {
  const x509 = await library();
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ name: "CN=scoutsync", keys, signingAlgorithm: SIGNING });
  return { key: pemOf(keys.privateKey), request: Buffer.from(request.rawData) };
}

/** What a certificate is issued with. */
export interface Issue {
  /** PEM of the CA. */
  ca: { certificate: string; key: string };
  member: Membership;
  /** The count in its serial number. */
  serial: number;
  lifetimeMs: number;
  /** Host names and addresses that browsers and foreign clients may find it under. */
  hosts: readonly string[];
  nowMs?: number;
}

/**
 * Signs a certificate for the key of a PKCS #10 request. Of the request only the key counts: who its holder is was
 * decided before. Throws INVALID_ARGUMENT for what is no request, or one that its key has not signed.
 */
export async function issueCertificate(request: Uint8Array, issue: Issue): Promise<string> {
  const x509 = await library();
  const { ca, member, serial, lifetimeMs, hosts, nowMs = Date.now() } = issue;
  const publicKey = await requestedKey(request);
  const issuer = new x509.X509Certificate(ca.certificate);
  const signingKey = createPrivateKey(ca.key).toCryptoKey(ALGORITHM, false, ["sign"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(serial, randomBytes(7)),
    subject: `CN=${member.name}`,
    issuer: issuer.subject,
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + lifetimeMs),
    publicKey,
    signingKey,
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: "url", value: identityUri(member) },
        ...hosts.map((value) => ({ type: isAddress(value) ? ("ip" as const) : ("dns" as const), value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}

async function requestedKey(request: Uint8Array): Promise<webcrypto.CryptoKey> {
  const x509 = await library();
  try {
    const parsed = new x509.Pkcs10CertificateRequest(new Uint8Array(request));
    const key = await parsed.publicKey.export(ALGORITHM, ["verify"]);
    if (await parsed.verify()) return key;
  } catch {
    // Said below: a request comes from outside, and what exactly is wrong with it helps nobody.
  }
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: "the certificate request cannot be read, or is not signed by an ECDSA P-256 key of its own",
    action: "Join with `scoutsync node --join CODE` of this version.",
  });
}

function pemOf(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: "pkcs8", format: "pem" }) as string;
}

function isAddress(host: string): boolean {
  return host.includes(":") || /^\d{1,3}(\.\d{1,3}){3}$/.test(host);
}
