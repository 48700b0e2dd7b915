export * from "./neighbourhood.ts";
