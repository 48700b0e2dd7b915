import { createHash, randomBytes, randomUUID, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { SyncError } from "@scoutsync/core";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { fleetFolder, readIfThere, writePrivately, type FleetFolder } from "./fleet-folder.ts";
import { checkMemberName, identityIn, memberKey, type Identity, type Membership, type Role } from "./identity.ts";
import { formatJoinCode, SECRET_BYTES } from "./join-code.ts";
import type { Revocations } from "./revocations.ts";
import { createCa, createRequest, issueCertificate } from "./x509.ts";

/** Renewed after a third of it, so that the authority may be away for more than a week. */
export const DEFAULT_LIFETIME_MS = 14 * 86_400_000;
export const DEFAULT_INVITATION_MS = 3_600_000;
const LONGEST_INVITATION_MS = 30 * 86_400_000;
/** Names that every certificate carries, for foreign clients on the same machine. */
const LOCAL_HOSTS = ["localhost", "127.0.0.1", "::1"];

/** Someone who was given a certificate. */
export interface Member {
  role: Role;
  id: string;
  name: string;
  /** ISO 8601 UTC. */
  joined: string;
  valid_until: string;
  serial: number;
  revoked: boolean;
  /** When it was put out, ISO 8601 UTC, and by whom, as the audit log names them. */
  revoked_at?: string;
  revoked_by?: string;
  /** What it is limited to; not there for who is not. */
  scope?: string;
}

interface State {
  fleet: string;
  lifetime_ms: number;
  serial: number;
  members: Member[];
}

interface Invitation {
  role: Role;
  expires: string;
  scope?: string;
}

/** What a new member gets. */
export interface Admitted {
  identity: Identity;
  certificate: string;
}

/**
 * Makes a fleet in `dataDirectory`: a CA whose key stays there, and the identity of the service that will run there.
 * Throws INVALID_ARGUMENT where there is one already.
 */
export async function createFleet(
  dataDirectory: string,
  own: { role: Role; id: string; name: string },
  { lifetimeMs = DEFAULT_LIFETIME_MS }: { lifetimeMs?: number } = {},
): Promise<Authority> {
  const folder = fleetFolder(dataDirectory);
  if (existsSync(folder.identity) || existsSync(folder.authority)) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `${dataDirectory} belongs to a fleet already`,
      action: "Give another directory with --data, or use what is there.",
    });
  }
  const fleet = randomBytes(8).toString("hex");
  const ca = await createCa(fleet);
  const state: State = { fleet, lifetime_ms: lifetimeMs, serial: 0, members: [] };
  writePrivately(join(folder.authority, "ca-key.pem"), ca.key);
  writePrivately(join(folder.authority, "state.json"), `${JSON.stringify(state)}\n`);
  writePrivately(folder.ca, ca.certificate);
  const authority = new Authority(folder);
  await authority.issueOwn({ ...own, fleet });
  return authority;
}

/** Holds the CA's key: lets members in, renews their certificates and puts them out. One process at a time. */
export class Authority {
  readonly #folder: FleetFolder;
  readonly #ca: { certificate: string; key: string };
  #state: State;

  /** Throws INVALID_ARGUMENT when the files are not those of an authority. */
  constructor(folder: FleetFolder) {
    this.#folder = folder;
    const [key, certificate, state] = [join(folder.authority, "ca-key.pem"), folder.ca, join(folder.authority, "state.json")].map(
      (path) => readIfThere(path) ?? missing(path),
    ) as [string, string, string];
    this.#ca = { certificate, key };
    this.#state = JSON.parse(state) as State;
  }

  /** Null where the CA's key is not kept. */
  static open(dataDirectory: string): Authority | null {
    const folder = fleetFolder(dataDirectory);
    return existsSync(folder.authority) ? new Authority(folder) : null;
  }

  get fleet(): string {
    return this.#state.fleet;
  }

  members(): readonly Member[] {
    return this.#state.members;
  }

  /**
   * A code that lets in one member of that role, once, within `validForMs`; with `scope` a node that is limited to it. Works
   * while the service runs and while it does not. Throws INVALID_ARGUMENT.
   */
  invite(
    role: Role,
    options: { validForMs?: number; addresses?: readonly string[]; scope?: string | undefined } = {},
  ): { code: string; expires: Date } {
    const { validForMs = DEFAULT_INVITATION_MS, scope } = options;
    if (scope !== undefined && role !== "node") throw onlyNodes(role);
    if (scope !== undefined) checkMemberName(scope, "the name of a scope");
    const addresses = options.addresses?.length ? options.addresses : this.#addresses();
    for (const address of addresses) if (parseAddress(address) === null) throw noAddress(address);
    const secret = randomBytes(SECRET_BYTES).toString("base64url");
    const expires = new Date(Date.now() + Math.min(validForMs, LONGEST_INVITATION_MS));
    const invitation: Invitation = { role, expires: expires.toISOString(), ...(scope !== undefined && { scope }) };
    writePrivately(this.#invitation(secret), `${JSON.stringify(invitation)}\n`);
    const fingerprint = createHash("sha256").update(new X509Certificate(this.#ca.certificate).raw).digest();
    return { code: formatJoinCode({ addresses, fingerprint, secret }), expires };
  }

  /** Notes where this authority is served, for codes that are made later. */
  servedAt(listen: string): void {
    writePrivately(join(this.#folder.authority, "served-at.json"), `${JSON.stringify({ listen })}\n`);
  }

  /**
   * Trades an invitation's secret for a certificate; each works once. Throws UNAUTHENTICATED for one that is unknown,
   * used or expired, INVALID_ARGUMENT for a bad request or a node id that another member has.
   */
  async admit(asked: { secret: string; request: Uint8Array; nodeId: string; name: string }): Promise<Admitted> {
    const path = this.#invitation(asked.secret);
    const text = readIfThere(path);
    if (text === null) throw notInvited("is unknown, or was used already");
    const { role, expires, scope = null } = JSON.parse(text) as Invitation;
    if (Date.parse(expires) < Date.now()) throw notInvited(`expired at ${expires}`);
    const id = role === "node" || role === "coordinator" ? checkMemberName(asked.nodeId, "the id of a node") : randomUUID();
    const name = checkMemberName(asked.name, "the name of a member");
    const member = { fleet: this.fleet, role, id, name, scope };
    const known = this.#member(member);
    if (known && !known.revoked && Date.parse(known.valid_until) > Date.now()) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `${memberKey(member)} ("${known.name}") is a member already`,
        action: "Remove it from the fleet first, or give the new node a data directory of its own.",
      });
    }
    // Whoever renames it is let in: of two that come at once, one.
    const used = join(this.#folder.authority, "used");
    mkdirSync(used, { recursive: true, mode: 0o700 });
    try {
      renameSync(path, join(used, `${this.#hash(asked.secret)}.json`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") throw notInvited("was used already");
      throw error;
    }
    return this.#issue(asked.request, member);
  }

  /** A new certificate for a member that shows its present one. Throws INVALID_ARGUMENT for a bad request. */
  renew(identity: Identity, request: Uint8Array): Promise<Admitted> {
    return this.#issue(request, identity);
  }

  /** Key and certificate for the service of this very directory, put where it looks for them. */
  async issueOwn(member: Membership): Promise<void> {
    const { key, pem } = await this.issueHere(member);
    writePrivately(this.#folder.identity, key + pem);
  }

  /** Key and certificate of a member on this machine, for example of the person that makes the fleet. */
  async issueHere(member: Membership): Promise<{ key: string; pem: string; ca: string }> {
    const { key, request } = await createRequest();
    const { certificate } = await this.#issue(request, member);
    return { key, pem: certificate, ca: this.#ca.certificate };
  }

  /**
   * Puts a member out and returns the new signed list, which `keep` stores before it counts as done: a crash in between
   * leaves something to repeat. `text` is an id, a name or `role/id`, `by` is who does it; `mayBe` throws where this member is
   * not theirs to put out. Throws NOT_FOUND, or INVALID_ARGUMENT where it names several.
   */
  revoke(
    text: string,
    parts: { current: Revocations; by: string; mayBe?: (member: Member) => void; keep?: (list: Revocations) => void },
  ): { member: Member; revocations: Revocations } {
    const { current, by, mayBe = () => {}, keep = () => {} } = parts;
    const member = this.#named(text);
    mayBe(member);
    // Every certificate up to the latest number is void: also one that is being issued this moment.
    const revocations = current.with(this.fleet, { identity: memberKey(member), serial: this.#state.serial }, this.#ca.key);
    keep(revocations);
    Object.assign(member, { revoked: true, revoked_at: new Date().toISOString(), revoked_by: by });
    this.#save();
    return { member, revocations };
  }

  /** The one member that an id, a name or `role/id` means. Throws NOT_FOUND, or INVALID_ARGUMENT where it means several. */
  #named(text: string): Member {
    const found = this.#state.members.filter((one) => !one.revoked && (one.id === text || one.name === text || memberKey(one) === text));
    const [member, ...others] = found;
    if (!member || others.length > 0) {
      throw new SyncError({
        code: member ? "INVALID_ARGUMENT" : "NOT_FOUND",
        message: member ? `${found.length} members are called "${text}"` : `no member of the fleet is called "${text.slice(0, 80)}"`,
        action: member ? `Use one of: ${found.map(memberKey).join(", ")}.` : "See `scoutsync members list`.",
      });
    }
    return member;
  }

  async #issue(request: Uint8Array, member: Membership): Promise<Admitted> {
    // Counted before it is signed, so that a number is never given twice.
    this.#state.serial += 1;
    this.#save();
    const { serial, lifetime_ms: lifetimeMs } = this.#state;
    const hosts = member.role === "coordinator" ? [...LOCAL_HOSTS, ...ownAddresses()] : LOCAL_HOSTS;
    const certificate = await issueCertificate(request, { ca: this.#ca, member, serial, lifetimeMs, hosts });
    const identity = identityIn(new X509Certificate(certificate));
    const { role, id, name, scope } = identity;
    const known = this.#member(identity);
    const entry: Omit<Member, "joined"> = {
      role,
      id,
      name,
      valid_until: new Date(identity.validUntilMs).toISOString(),
      serial,
      revoked: false,
      ...(scope !== null && { scope }),
    };
    if (known && scope === null) delete known.scope;
    for (const field of ["revoked_at", "revoked_by"] as const) if (known) delete known[field];
    if (known) Object.assign(known, entry);
    else this.#state.members.push({ ...entry, joined: new Date().toISOString() });
    this.#save();
    return { identity, certificate };
  }

  #member(wanted: Pick<Identity, "role" | "id">): Member | undefined {
    return this.#state.members.find((one) => memberKey(one) === memberKey(wanted));
  }

  #save(): void {
    writePrivately(join(this.#folder.authority, "state.json"), `${JSON.stringify(this.#state)}\n`);
  }

  #hash(secret: string): string {
    return createHash("sha256").update(secret).digest("hex");
  }

  /** Only the hash of a secret is kept, as a file's name: nothing from outside becomes a path. */
  #invitation(secret: string): string {
    return join(this.#folder.authority, "invitations", `${this.#hash(secret)}.json`);
  }

  #addresses(): string[] {
    const text = readIfThere(join(this.#folder.authority, "served-at.json"));
    const listen = parseAddress(text === null ? "" : (JSON.parse(text) as { listen: string }).listen);
    if (listen === null) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: "it is not known where this fleet's authority will be reached",
        action: "Start its service first, or say it with --address HOST:PORT.",
      });
    }
    if (listen.host !== "0.0.0.0" && listen.host !== "::") return [formatAddress(listen)];
    return [...ownAddresses(), "127.0.0.1"].map((host) => formatAddress({ host, port: listen.port }));
  }
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.filter(({ internal, family }) => !internal && family === "IPv4").map(({ address }) => address);
}

function notInvited(why: string): SyncError {
  return new SyncError({
    code: "UNAUTHENTICATED",
    message: `this join code ${why}`,
    action: "Ask for a new one: `scoutsync invite`.",
  });
}

function onlyNodes(role: Role): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `a ${role} cannot be limited to a scope`,
    action: "Only nodes are: leave --scope out, or invite a node.",
  });
}

function noAddress(text: string): SyncError {
  return new SyncError({ code: "INVALID_ARGUMENT", message: `"${text}" is not host:port`, action: "Give --address HOST:PORT." });
}

function missing(path: string): never {
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `${path} is missing: this directory holds only a part of a fleet's authority`,
    action: "Put the whole directory back from a backup.",
  });
}
