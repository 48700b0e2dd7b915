export * from "./errors.ts";
export * from "./vector.ts";
export * from "./exchange.ts";
