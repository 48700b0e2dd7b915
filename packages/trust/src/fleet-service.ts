import type { handleUnaryCall } from "@grpc/grpc-js";
import { SyncError, toPlainError } from "@scoutsync/core";
import { FleetService, toStatus, type Admission, type FleetServer, type Member as WireMember } from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import { accessOf, MEMBERS, OPERATORS, SERVICES, VIEWERS } from "./access.ts";
import { actor, naming } from "./acts.ts";
import type { AuditLog } from "./audit.ts";
import type { Admitted, Authority, Member } from "./authority.ts";
import type { CallAccess, Guard } from "./guard.ts";
import { isRole, memberKey, type Identity } from "./identity.ts";
import type { Trust } from "./trust.ts";

/** Who may make the calls of the Fleet service. */
export const FLEET_ACCESS: readonly [string, CallAccess][] = accessOf(FleetService, {
  join: { roles: "anyone" },
  renew: { roles: MEMBERS, limited: "membership" },
  shareRevocations: { roles: MEMBERS, limited: "membership" },
  invite: { roles: OPERATORS, scope: "access", audited: { about: naming("role", "scope") } },
  listMembers: { roles: [...VIEWERS, ...SERVICES], scope: "access" },
  revoke: { roles: [...OPERATORS, "coordinator"], scope: "access", audited: { about: naming("member") } },
});

/** The calls of the Fleet service. */
export function fleetCalls(parts: { trust: Trust; guard: Guard; audit: AuditLog; logger: Logger; stopping: AbortSignal }): FleetServer {
  const { trust, guard, audit, logger, stopping } = parts;

  const admission = ({ certificate }: Admitted): Admission => ({
    certificate,
    caCertificate: trust.own.ca,
    revocations: trust.revocations.wire,
    contactRole: trust.identity.role,
  });

  return {
    join: unary(async (request, peer) => {
      const { secret, certificateRequest, nodeId, name } = request;
      try {
        const admitted = await authorityOf(trust).admit({ secret, request: certificateRequest, nodeId, name });
        audit.write({ who: peer, what: "join", outcome: "done", details: `${memberKey(admitted.identity)} (${name})` });
        logger.info({ member: memberKey(admitted.identity), name }, "a new member has joined the fleet");
        return { admission: admission(admitted) };
      } catch (error) {
        const { code, message } = toPlainError(error);
        audit.write({ who: peer, what: "join", outcome: "refused", details: `${code}: ${message}` });
        throw error;
      }
    }),

    renew: unary(async ({ certificateRequest }, _peer, caller) => {
      if (caller === null) throw notAMember();
      const admitted = await authorityOf(trust).renew(caller, certificateRequest);
      return { admission: admission(admitted) };
    }),

    invite: unary((request, _peer, caller) => {
      const { role, validForS, addresses, scope } = request;
      if (!isRole(role)) {
        throw new SyncError({
          code: "INVALID_ARGUMENT",
          message: `"${role.slice(0, 40)}" is no role`,
          action: "Use node, coordinator, worker, viewer, operator or superadmin.",
        });
      }
      if (role === "superadmin" && caller?.role !== "superadmin") throw onlySuperadmins();
      const { code, expires } = authorityOf(trust).invite(role, {
        ...(validForS > 0 && { validForMs: validForS * 1_000 }),
        ...(scope !== "" && { scope }),
        addresses,
      });
      return { code, expires: expires.toISOString() };
    }),

    listMembers: unary(() => ({ members: authorityOf(trust).members().map(memberShape) })),

    revoke: unary(({ member: text }, _peer, caller) => {
      // The member that is put out, whatever of its names was given.
      const mayBe = ({ role }: Member) => {
        if (role === "superadmin" && caller?.role !== "superadmin") throw onlySuperadmins();
      };
      return { member: memberShape(putOut(trust, audit, text, mayBe)) };
    }),

    shareRevocations: (call) => {
      const tell = () => void call.write({ revocations: trust.revocations.wire });
      const finish = () => {
        trust.off("revoked", tell);
        stopping.removeEventListener("abort", end);
      };
      const end = () => {
        finish();
        call.end();
      };
      call.on("data", ({ revocations }) => {
        try {
          trust.adopt(revocations);
        } catch (error) {
          finish();
          call.emit("error", toStatus(error));
        }
      });
      call.once("end", end);
      call.once("cancelled", finish);
      call.on("error", finish);
      if (stopping.aborted) return end();
      stopping.addEventListener("abort", end, { once: true });
      trust.on("revoked", tell);
      tell();
    },
  };

  function unary<Q, P>(answer: (request: Q, peer: string, caller: Identity | null) => P | Promise<P>): handleUnaryCall<Q, P> {
    return (call, callback) => {
      const respond = async () => {
        try {
          callback(null, await answer(call.request, call.getPeer(), guard.callerOf(call)));
        } catch (error) {
          if (!(error instanceof SyncError)) logger.error({ err: error, call: call.getPath() }, "a call failed");
          callback(toStatus(error));
        }
      };
      void respond();
    };
  }
}

/** Puts a member out of the fleet here, at the authority: whoever is connected hears of it at once. Throws as `revoke`. */
export function putOut(trust: Trust, audit: AuditLog, text: string, mayBe?: (member: Member) => void): Member {
  const by = actor() ?? memberKey(trust.identity);
  const { member } = authorityOf(trust).revoke(text, {
    current: trust.revocations,
    by,
    ...(mayBe && { mayBe }),
    keep: (list) => trust.replaceRevocations(list),
  });
  audit.write({ who: by, what: "revoke", outcome: "done", details: `${memberKey(member)} (${member.name})` });
  return member;
}

function authorityOf({ authority, contact }: Trust): Authority {
  if (authority) return authority;
  throw new SyncError({
    code: "FORBIDDEN",
    message: "the fleet's CA is not kept here",
    action: contact === null ? "Ask the service where the fleet was made." : `Ask ${contact.address}.`,
  });
}

function memberShape(member: Member): WireMember {
  const { role, id, name, joined, revoked, scope = "", revoked_at: revokedAt = "", revoked_by: revokedBy = "" } = member;
  return { role, id, name, joined, validUntil: member.valid_until, revoked, scope, revokedAt, revokedBy };
}

function notAMember(): SyncError {
  return new SyncError({ code: "UNAUTHENTICATED", message: "a key cannot be renewed this way", action: "Show a certificate." });
}

function onlySuperadmins(): SyncError {
  return new SyncError({
    code: "FORBIDDEN",
    message: "only a superadmin may let in or put out a superadmin",
    action: "Use the identity of a superadmin with --identity.",
  });
}
