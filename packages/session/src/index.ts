export type * from "./peer.ts";
export * from "./acquaintances.ts";
export * from "./wakeup.ts";
export * from "./take.ts";
export * from "./pull.ts";
export * from "./push.ts";
export * from "./session.ts";
export * from "./verify.ts";
export * from "./live.ts";
