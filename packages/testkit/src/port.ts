import { isPortFree } from "@scoutsync/runtime";

/** Below those that a system gives to whoever asks for any port; each process of the test runner has its own part of them. */
const FIRST = 12_000;
const PER_WORKER = 2_000;
const WORKERS = 8;

const first = FIRST + (Number(process.env["VITEST_POOL_ID"] ?? process.pid) % WORKERS) * PER_WORKER;
// What an earlier file had may be ending still.
let at = process.pid;

/** A loopback port that nobody else takes while whoever has it is down: for what is started again under its address. */
export async function ownPort(): Promise<number> {
  for (let tries = 0; tries < PER_WORKER; tries++) {
    const port = first + (at++ % PER_WORKER);
    if (await isPortFree(port)) return port;
  }
  throw new Error(`none of the ports from ${first} on is free`);
}
