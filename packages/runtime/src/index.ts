export * from "./log.ts";
export * from "./backoff.ts";
export * from "./lifecycle.ts";
export * from "./address.ts";
