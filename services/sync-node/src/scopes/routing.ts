import type { SyncNodeServer } from "@scoutsync/protocol";
import { SyncError } from "@scoutsync/core";
import { memberKey, type Guard, type Identity } from "@scoutsync/trust";
import type { NodeContext } from "../context.ts";
import { handlers } from "../handlers/index.ts";
import type { Scope } from "./scopes.ts";

/** What the handlers see of this node when a node of the scope calls: nothing but the scope's own databases and roots. */
export function contextOf(scope: Scope, context: NodeContext): NodeContext {
  const { name, databases, files } = scope;
  return { ...context, scope: name, isPart: true, databases, files: files.roots, rowFiles: [], scopes: [] };
}

/**
 * The calls of the SyncNode service, each answered from what its caller may see: who is limited to a scope meets handlers
 * that know of nothing else. `own` is this node's identity.
 */
export function routedHandlers(context: NodeContext, guard: Guard, own: Identity): SyncNodeServer {
  const whole = handlers(context);
  const limited = new Map(context.scopes.map((scope) => [scope.name, handlers(contextOf(scope, context))]));
  type Handler = (call: { getPeer(): string }, ...rest: unknown[]) => void;
  const route = (method: keyof SyncNodeServer): Handler => {
    const choose = (call: { getPeer(): string }) => {
      const caller = guard.callerOf(call);
      if (caller === null || caller.scope === null || memberKey(caller) === memberKey(own)) return whole;
      const found = limited.get(caller.scope);
      if (found) return found;
      // The guard has refused it before.
      throw new SyncError({
        code: "FORBIDDEN",
        message: "this node does not serve that scope",
        action: "Sync with the server of the scope.",
      });
    };
    return (call, ...rest) => (choose(call)[method] as unknown as Handler)(call, ...rest);
  };
  const methods = Object.keys(whole) as (keyof SyncNodeServer)[];
  return Object.fromEntries(methods.map((method) => [method, route(method)])) as unknown as SyncNodeServer;
}
