import { X509Certificate } from "node:crypto";
import { EventEmitter } from "node:events";
import { SyncError } from "@scoutsync/core";
import type { RevocationList } from "@scoutsync/protocol";
import { Authority } from "./authority.ts";
import { fleetFolder, readIfThere, writePrivately, type FleetFolder } from "./fleet-folder.ts";
import { identityIn, memberKey, type Identity } from "./identity.ts";
import { Revocations } from "./revocations.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/;
const PRIVATE_KEY = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----\n?/;

/** Where a member joined: whom it asks for a new certificate, and whom it syncs with when told of nobody else. */
export interface Contact {
  role: "node" | "coordinator";
  address: string;
}

/** Key and certificates in PEM. */
export interface OwnCertificate {
  key: string;
  certificate: string;
  ca: string;
}

interface TrustEvents {
  /** Somebody was put out: whoever is connected has to be looked at again. */
  revoked: [Revocations];
  /** This member has a new certificate. */
  renewed: [OwnCertificate];
}

/** What a member of a fleet knows about who belongs to it, itself included. */
export class Trust extends EventEmitter<TrustEvents> {
  readonly ca: X509Certificate;
  readonly contact: Contact | null;
  /** Null where the CA's key is not kept. */
  readonly authority: Authority | null;
  readonly #folder: FleetFolder;
  readonly #caPem: string;
  #own: OwnCertificate;
  #identity: Identity;
  #revocations: Revocations;

  private constructor(dataDirectory: string) {
    super();
    // Every open stream listens.
    this.setMaxListeners(0);
    this.#folder = fleetFolder(dataDirectory);
    this.#caPem = readIfThere(this.#folder.ca) ?? damaged(this.#folder.ca);
    this.ca = new X509Certificate(this.#caPem);
    this.#own = this.#split(readIfThere(this.#folder.identity) ?? damaged(this.#folder.identity));
    this.#identity = identityIn(new X509Certificate(this.#own.certificate));
    const revoked = readIfThere(this.#folder.revocations);
    const { fleet } = this.#identity;
    this.#revocations = revoked === null ? Revocations.none(fleet) : Revocations.fromText(revoked, fleet, this.ca.publicKey);
    const contact = readIfThere(this.#folder.contact);
    this.contact = contact === null ? null : (JSON.parse(contact) as Contact);
    this.authority = Authority.open(dataDirectory);
  }

  /** Null for a data directory of no fleet. Throws INVALID_ARGUMENT for one whose files are damaged. */
  static open(dataDirectory: string): Trust | null {
    if (readIfThere(fleetFolder(dataDirectory).identity) === null) return null;
    return new Trust(dataDirectory);
  }

  get identity(): Identity {
    return this.#identity;
  }

  get own(): OwnCertificate {
    return this.#own;
  }

  get revocations(): Revocations {
    return this.#revocations;
  }

  /**
   * Whose certificate (DER) this is. Throws UNAUTHENTICATED, saying why, for one of another fleet, one that is not
   * valid now, and one whose holder was put out. That the other side has its key is TLS's to prove.
   */
  recognise(certificate: Uint8Array): Identity {
    const read = new X509Certificate(certificate);
    if (!read.checkIssued(this.ca) || !read.verify(this.ca.publicKey)) {
      throw refused("the certificate was not issued by this fleet", "Join this fleet with a code from `scoutsync invite`.");
    }
    const identity = identityIn(read);
    this.check(identity);
    return identity;
  }

  /** Throws UNAUTHENTICATED for an identity that is not valid any more. */
  check(identity: Identity): void {
    if (identity.fleet !== this.#identity.fleet) {
      throw refused("the certificate is one of another fleet", "Join this fleet with a code from `scoutsync invite`.");
    }
    if (this.#revocations.includes(identity)) {
      throw refused(
        `${memberKey(identity)} ("${identity.name}") was put out of the fleet`,
        "Join again with a new code from `scoutsync invite`.",
      );
    }
    const now = Date.now();
    if (now > identity.validUntilMs || now < identity.validFromMs) {
      const validity = `${new Date(identity.validFromMs).toISOString()} to ${new Date(identity.validUntilMs).toISOString()}`;
      throw refused(
        `the certificate of "${identity.name}" is valid from ${validity}, and by the clock here it is ${new Date(now).toISOString()}`,
        "Set the clock if it is wrong; else join again with a new code from `scoutsync invite`.",
      );
    }
  }

  /** Takes over a newer list, keeps it, and tells whoever listens. False when it is not newer. Throws UNAUTHENTICATED. */
  adopt(wire: RevocationList | undefined): boolean {
    if (!wire || wire.content.length === 0) return false;
    const list = Revocations.read(wire, this.#identity.fleet, this.ca.publicKey);
    if (list.version <= this.#revocations.version) return false;
    // Counts at once: the disk may be full.
    this.#revocations = list;
    this.emit("revoked", list);
    writePrivately(this.#folder.revocations, list.toText());
    return true;
  }

  /** The authority's own new list. */
  replaceRevocations(list: Revocations): void {
    writePrivately(this.#folder.revocations, list.toText());
    this.#revocations = list;
    this.emit("revoked", list);
  }

  /** Puts a new certificate and its key in the place of the present ones. Throws UNAUTHENTICATED for one that is not ours. */
  renewed(key: string, certificate: string): void {
    const identity = this.recognise(new X509Certificate(certificate).raw);
    if (memberKey(identity) !== memberKey(this.#identity)) throw refused("the new certificate is somebody else's", "Join again.");
    writePrivately(this.#folder.identity, key + certificate);
    this.#own = { ...this.#own, key, certificate };
    this.#identity = identity;
    this.emit("renewed", this.#own);
  }

  #split(text: string): OwnCertificate {
    const [key, certificate] = [PRIVATE_KEY.exec(text)?.[0], CERTIFICATE.exec(text)?.[0]];
    if (!key || !certificate) return damaged(this.#folder.identity);
    return { key, certificate, ca: this.#caPem };
  }
}

/** Keeps what a new member was given. */
export function storeIdentity(
  dataDirectory: string,
  given: OwnCertificate & { revocations?: RevocationList | undefined; contact?: Contact | undefined },
): void {
  const folder = fleetFolder(dataDirectory);
  const ca = new X509Certificate(given.ca);
  const { fleet } = identityIn(new X509Certificate(given.certificate));
  writePrivately(folder.ca, given.ca);
  if (given.revocations) writePrivately(folder.revocations, Revocations.read(given.revocations, fleet, ca.publicKey).toText());
  if (given.contact) writePrivately(folder.contact, `${JSON.stringify(given.contact)}\n`);
  // Last: whoever finds it finds the others, too.
  writePrivately(folder.identity, given.key + given.certificate);
}

function refused(message: string, action: string): SyncError {
  return new SyncError({ code: "UNAUTHENTICATED", message, action });
}

function damaged(path: string): never {
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `${path} is missing or damaged`,
    action: "Put it back from a backup, or remove the folder `fleet` and join again with a new code.",
  });
}
