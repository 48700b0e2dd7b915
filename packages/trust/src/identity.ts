import type { X509Certificate } from "node:crypto";
import { SyncError } from "@scoutsync/core";

/** What the holder of a certificate or key may do; each call and route says which of them it needs. */
export const ROLES = ["node", "coordinator", "worker", "viewer", "operator", "superadmin"] as const;
export type Role = (typeof ROLES)[number];

/** Who somebody is, as the fleet's CA has signed it. */
export interface Identity {
  /** The fleet it belongs to. */
  readonly fleet: string;
  readonly role: Role;
  /** Stable: a node's is the identity under which its writes travel. */
  readonly id: string;
  /** What people call it. */
  readonly name: string;
  /** A node that is limited to the part of the data that a scope of this name lets it see; null for all others. */
  readonly scope: string | null;
  /** Counts every certificate the authority has given out; the later one of an identity has the higher number. */
  readonly serial: number;
  /** Milliseconds since 1970. */
  readonly validFromMs: number;
  readonly validUntilMs: number;
}

/** Names and ids end up in certificates, file names and logs. */
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;
/** A program that knows nothing of scopes takes a certificate with one for none of a fleet: it refuses rather than shows all. */
const URI = /^spiffe:\/\/([a-z0-9]{8,40})\/([a-z]+)\/([A-Za-z0-9_.-]{1,64})(?:\/scope\/([A-Za-z0-9_.-]{1,64}))?$/;
/** A serial number is 1, then eight bytes of count, then seven random ones. */
const SERIAL_DIGITS = 32;
const COUNT_DIGITS = 16;

export function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text);
}

/** Throws INVALID_ARGUMENT for what cannot be the name or id of a member. */
export function checkMemberName(text: string, what: string): string {
  if (NAME.test(text)) return text;
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `"${text.slice(0, 80)}" cannot be ${what}`,
    action: "Use 1 to 64 letters, digits, dots, dashes and underscores.",
  });
}

/** What an authority decides about a member. */
export type Membership = Pick<Identity, "fleet" | "role" | "id" | "name"> & { readonly scope?: string | null };

/** How an identity is called in its certificate: a SPIFFE ID. */
export function identityUri({ fleet, role, id, scope = null }: Pick<Membership, "fleet" | "role" | "id" | "scope">): string {
  return `spiffe://${fleet}/${role}/${id}${scope === null ? "" : `/scope/${scope}`}`;
}

/** `role/id`, as revocations and the audit log name it. */
export function memberKey({ role, id }: Pick<Identity, "role" | "id">): string {
  return `${role}/${id}`;
}

/** The serial number of the certificate with this count, hexadecimal. */
export function serialNumber(count: number, random: Uint8Array): string {
  return `01${count.toString(16).padStart(COUNT_DIGITS, "0")}${Buffer.from(random)
    .toString("hex")
    .slice(0, SERIAL_DIGITS - COUNT_DIGITS - 2)}`;
}

/** What a certificate says; nothing is checked but its form. Throws UNAUTHENTICATED for one that is not of a fleet. */
export function identityIn(certificate: X509Certificate): Identity {
  const uris = (certificate.subjectAltName ?? "").split(", ").filter((name) => name.startsWith("URI:"));
  const match = URI.exec(uris[0]?.slice("URI:".length) ?? "");
  const [, fleet = "", role = "", id = "", scope = null] = match ?? [];
  const name = /^CN=(.*)$/m.exec(certificate.subject)?.[1] ?? "";
  if (uris.length !== 1 || !isRole(role) || !NAME.test(name) || (scope !== null && role !== "node")) {
    throw new SyncError({
      code: "UNAUTHENTICATED",
      message: "the certificate is not one of a scoutsync fleet",
      action: "Join the fleet with a code from `scoutsync invite`.",
    });
  }
  const digits = certificate.serialNumber.padStart(SERIAL_DIGITS, "0");
  return {
    fleet,
    role,
    id,
    name,
    scope,
    serial: Number.parseInt(digits.slice(2, 2 + COUNT_DIGITS), 16),
    validFromMs: certificate.validFromDate.getTime(),
    validUntilMs: certificate.validToDate.getTime(),
  };
}
