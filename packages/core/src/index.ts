export * from "./errors.ts";
export * from "./vector.ts";
export * from "./exchange.ts";
export * from "./bytes.ts";
export * from "./merge.ts";
export * from "./payload.ts";
export * from "./schema-print.ts";
