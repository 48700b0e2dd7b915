export * from "./log.ts";
export * from "./backoff.ts";
export * from "./lifecycle.ts";
export * from "./address.ts";
export * from "./port.ts";
export * from "./tether.ts";
