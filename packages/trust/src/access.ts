import type { CallAccess } from "./guard.ts";
import type { Role } from "./identity.ts";

export const MEMBERS: readonly Role[] = ["node", "coordinator", "worker", "viewer", "operator", "superadmin"];
export const SERVICES: readonly Role[] = ["node", "coordinator"];
export const VIEWERS: readonly Role[] = ["viewer", "operator", "superadmin"];
export const OPERATORS: readonly Role[] = ["operator", "superadmin"];

interface Method {
  path: string;
  requestDeserialize: (bytes: Buffer) => unknown;
}

/** The rules of one service by the names of its generated definition, as full paths. */
export function accessOf<S extends Record<string, Method>>(
  service: S,
  rules: { readonly [M in keyof S]: CallAccess<ReturnType<S[M]["requestDeserialize"]>> },
): [string, CallAccess][] {
  return Object.entries(service).map(([method, { path }]) => [path, rules[method as keyof S]]);
}

/** Calls of other services that stand beside ours: health and reflection. */
export const FOREIGN_CALLS: readonly [string, CallAccess][] = [
  "/grpc.health.v1.Health/Check",
  "/grpc.health.v1.Health/List",
  "/grpc.health.v1.Health/Watch",
  "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
  "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
].map((path) => [path, { roles: MEMBERS, scope: "fleet" }]);
