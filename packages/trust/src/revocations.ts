import { createPrivateKey, sign, verify, type KeyObject } from "node:crypto";
import { SyncError } from "@scoutsync/core";
import { RevocationList } from "@scoutsync/protocol";
import { memberKey, type Identity } from "./identity.ts";

/** The list is small by nature; a larger one is not ours. */
const MOST_BYTES = 4 * 1024 * 1024;

interface Content {
  fleet: string;
  version: number;
  revoked: { identity: string; serial: number }[];
}

/** Who was put out of a fleet, as its CA has signed it. Immutable: a later list has a higher version. */
export class Revocations {
  readonly version: number;
  readonly wire: RevocationList;
  readonly #until: ReadonlyMap<string, number>;

  private constructor(content: Content, wire: RevocationList) {
    this.version = content.version;
    this.wire = wire;
    this.#until = new Map(content.revoked.map(({ identity, serial }) => [identity, serial]));
  }

  /** The list of a fleet that has put nobody out. */
  static none(fleet: string): Revocations {
    return new Revocations({ fleet, version: 0, revoked: [] }, RevocationList.create());
  }

  /** Checks and reads a list. Throws UNAUTHENTICATED for one that the fleet's CA has not signed. */
  static read(wire: RevocationList, fleet: string, caKey: KeyObject): Revocations {
    if (wire.content.length === 0) return Revocations.none(fleet);
    const signed = wire.content.length <= MOST_BYTES && verify("sha256", wire.content, caKey, wire.signature);
    const content = signed ? (JSON.parse(Buffer.from(wire.content).toString("utf8")) as Content) : null;
    if (content?.fleet === fleet) return new Revocations(content, wire);
    throw new SyncError({
      code: "UNAUTHENTICATED",
      message: "a list of revoked identities is not signed by this fleet's CA",
      action: "Find out who sent it: no member of the fleet does.",
    });
  }

  /** This list and one more identity, whose certificates up to `serial` are void, signed by the CA. */
  with(fleet: string, revoked: { identity: string; serial: number }, caKeyPem: string): Revocations {
    const until = new Map(this.#until).set(revoked.identity, revoked.serial);
    const entries = [...until].map(([identity, serial]) => ({ identity, serial }));
    const content: Content = { fleet, version: this.version + 1, revoked: entries };
    const bytes = Buffer.from(JSON.stringify(content));
    return new Revocations(content, { content: bytes, signature: sign("sha256", bytes, createPrivateKey(caKeyPem)) });
  }

  includes(identity: Pick<Identity, "role" | "id" | "serial">): boolean {
    return identity.serial <= (this.#until.get(memberKey(identity)) ?? -1);
  }

  /** As a file. */
  toText(): string {
    const { content, signature } = this.wire;
    return `${JSON.stringify({ content: Buffer.from(content).toString("base64"), signature: Buffer.from(signature).toString("base64") })}\n`;
  }

  /** The inverse of `toText`. Throws as `read`. */
  static fromText(text: string, fleet: string, caKey: KeyObject): Revocations {
    const { content, signature } = JSON.parse(text) as { content: string; signature: string };
    return Revocations.read({ content: Buffer.from(content, "base64"), signature: Buffer.from(signature, "base64") }, fleet, caKey);
  }
}
