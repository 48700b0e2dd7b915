import type { handleUnaryCall } from "@grpc/grpc-js";
import { SyncError } from "@scoutsync/core";
import { AccessService, toStatus, type AccessServer, type ApiKey, type User } from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import { accessOf, naming, type CallAccess, type Role } from "@scoutsync/trust";
import type { KeyRow, UserRow } from "../registry/access-store.ts";
import type { ApiKeys } from "./keys.ts";
import type { Logins } from "./logins.ts";

const SUPERADMIN: readonly Role[] = ["superadmin"];

/** Who may make the calls of the Access service. */
export const ACCESS_ACCESS: readonly [string, CallAccess][] = accessOf(AccessService, {
  createKey: { roles: SUPERADMIN, scope: "access", audited: { about: naming("name", "role", "scopes") } },
  listKeys: { roles: SUPERADMIN, scope: "access" },
  revokeKey: { roles: SUPERADMIN, scope: "access", audited: { about: naming("name") } },
  setUser: { roles: SUPERADMIN, scope: "access", audited: { about: naming("name", "role") } },
  listUsers: { roles: SUPERADMIN, scope: "access" },
  removeUser: { roles: SUPERADMIN, scope: "access", audited: { about: naming("name") } },
});

/** The calls of the Access service. */
export function accessCalls({ keys, logins, logger }: { keys: ApiKeys; logins: Logins; logger: Logger }): AccessServer {
  function unary<Q, P>(answer: (request: Q) => P | Promise<P>): handleUnaryCall<Q, P> {
    return (call, callback) => {
      const respond = async () => {
        try {
          callback(null, await answer(call.request));
        } catch (error) {
          if (!(error instanceof SyncError)) logger.error({ err: error, call: call.getPath() }, "a call failed");
          callback(toStatus(error));
        }
      };
      void respond();
    };
  }
  return {
    createKey: unary(({ name, role, scopes, validForS }) => {
      const { key, entry } = keys.create({ name, role, scopes, validForS: Number(validForS) });
      return { key, entry: keyShape(entry) };
    }),
    listKeys: unary(() => ({ keys: keys.list().map(keyShape) })),
    revokeKey: unary(({ name }) => {
      keys.revoke(name);
      return {};
    }),
    setUser: unary(async (request) => ({ user: userShape(await logins.setUser(request)) })),
    listUsers: unary(() => ({ users: logins.users().map(userShape) })),
    removeUser: unary(({ name }) => {
      logins.removeUser(name);
      return {};
    }),
  };
}

function keyShape(row: KeyRow): ApiKey {
  const { name, role, scopes } = row;
  return {
    name,
    role,
    scopes,
    created: row.created_at,
    expires: row.expires_at,
    lastUsed: row.last_used_at ?? "",
    revoked: row.revoked_at ?? "",
  };
}

function userShape({ name, role, created_at: created }: UserRow): User {
  return { name, role, created };
}
