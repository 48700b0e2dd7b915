import { AsyncLocalStorage } from "node:async_hooks";
import { status, type Metadata, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import { toStatus } from "@scoutsync/protocol";
import type { AuditLog } from "./audit.ts";
import type { Role } from "./identity.ts";

/** Which calls of a method leave a line in the audit log. */
export interface Audited<Q = never> {
  /** Services that make the call all the time as a matter of course: theirs are not noted. */
  readonly unlessBy?: readonly Role[];
  /** What it is about, from the first message; null for a call that changes nothing. No secrets, and no values of rows. */
  readonly about?: (request: Q) => string | null;
}

/** Somebody who was let in to make a call. */
export interface Actor {
  /** For the audit log. */
  readonly who: string;
  /** Null where nobody has to show who they are. */
  readonly role: Role | null;
  /** The service's own certificate, which its operator uses on its own machine. */
  readonly own: boolean;
  /** Throws where they may not any more: a key has no connection of its own that would be cut. Left out where that is. */
  readonly lookAgain?: () => void;
}

/** An act that has a line in the audit log. */
export interface Act {
  readonly who: string;
  /** Adds a line that it came to nothing. `code`: of the error. */
  failed(code: string): void;
}

/** A call that lasts is looked at again this often, milliseconds. */
const LOOK_AGAIN_MS = 2_000;
/** Longest part of a request that a line quotes, characters. */
const LONGEST_QUOTE = 120;

const acting = new AsyncLocalStorage<string>();

/** Does work for somebody who asked for it: what comes of it elsewhere is noted there as theirs. */
export function actingFor<T>(who: string, work: () => T): T {
  return acting.run(who, work);
}

/** For whom what runs now is done; null where nobody asked for it. */
export function actor(): string | null {
  return acting.getStore() ?? null;
}

/** An `about` that names some fields of a request, those that are set. */
export function naming(...fields: readonly string[]): (request: object) => string {
  return (request) =>
    fields
      .flatMap((field) => {
        const value = (request as Readonly<Record<string, unknown>>)[field];
        const text = Array.isArray(value) ? value.join(", ") : textOf(value);
        return text === "" || text === "0" || text === "false" ? [] : [`${field} ${text.slice(0, LONGEST_QUOTE)}`];
      })
      .join(", ");
}

/** Empty for what is no plain value. */
function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" ? String(value) : "";
}

/** The same for calls that can be asked what they would do: those change nothing. */
export function namingUnlessDry(...fields: readonly string[]): (request: { readonly dryRun: boolean }) => string | null {
  return (request) => (request.dryRun ? null : naming(...fields)(request));
}

/** Writes an act down before it is done, so that none is done without a line; null for a call that is not noted. */
export function noteAct(audit: AuditLog, audited: Audited | undefined, by: Actor, what: string, request: unknown): Act | null {
  if (audited === undefined) return null;
  const { unlessBy = [], about } = audited;
  // Where nobody shows who they are, a matter of course cannot be told from an act of somebody.
  if (by.role === null ? unlessBy.length > 0 : !by.own && unlessBy.includes(by.role)) return null;
  const details = about === undefined ? "" : about(request as never);
  if (details === null) return null;
  const { who } = by;
  audit.write({ who, what, outcome: "done", ...(details !== "" && { details }) });
  return {
    who,
    failed: (code) => audit.write({ who, what, outcome: "failed", details: [details, code].filter(Boolean).join(": ") }),
  };
}

/** Lets calls in, and notes those that are acts. `admit` throws what a call is refused with; null: it needs nobody to be known. */
export function actInterceptor(parts: {
  audit: AuditLog;
  auditedOf: (path: string) => Audited | undefined;
  admit: (path: string, peer: string, metadata: Metadata) => Actor | null;
}): ServerInterceptor {
  const { audit, auditedOf, admit } = parts;
  return (method, call) => {
    let by: Actor | null = null;
    let isFirst = true;
    let act: Act | null = null;
    let looking: NodeJS.Timeout | undefined;
    const refuse = (error: unknown) => {
      clearInterval(looking);
      call.sendStatus(toStatus(error));
    };
    const look = () => {
      try {
        by?.lookAgain?.();
      } catch (error) {
        refuse(error);
      }
    };
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, proceed) => {
            try {
              by = admit(method.path, call.getPeer(), metadata);
              if (by?.lookAgain !== undefined) looking = setInterval(look, LOOK_AGAIN_MS);
            } catch (error) {
              return refuse(error);
            }
            proceed(metadata);
          },
          onReceiveMessage: (message: unknown, proceed) => {
            try {
              if (isFirst && by !== null) act = noteAct(audit, auditedOf(method.path), by, method.path, message);
              isFirst = false;
            } catch (error) {
              return refuse(error);
            }
            proceed(message);
          },
          onReceiveHalfClose: (proceed) => (act === null ? proceed() : actingFor(act.who, proceed)),
          onCancel: () => clearInterval(looking),
        }),
      sendStatus: (ended, proceed) => {
        clearInterval(looking);
        if (ended.code !== status.OK && ended.code !== undefined) act?.failed(status[ended.code] ?? String(ended.code));
        act = null;
        proceed(ended);
      },
    });
  };
}

/** Where nobody has to be known, acts are noted all the same, by the address that they come from. */
export function plainActs(audit: AuditLog, access: ReadonlyMap<string, { readonly audited?: Audited }>): ServerInterceptor {
  return actInterceptor({
    audit,
    auditedOf: (path) => access.get(path)?.audited,
    admit: (_path, peer) => ({ who: peer, role: null, own: false }),
  });
}
