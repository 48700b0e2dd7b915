import { describeError } from "../exit.ts";
import { startPlayground } from "./playground.ts";

const stopped = new Promise<void>((resolve) => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve());
  // When npm or the terminal is killed nobody signals us, but our parent changes.
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) resolve();
  }, 1_000).unref();
});

const say = (line = "") => process.stdout.write(`${line}\n`);

try {
  const playground = await startPlayground({ directory: "data", env: process.env, say, stopped });
  await stopped;
  say("\nStopping ...");
  await playground.stop();
  process.exit(0);
} catch (error) {
  process.stderr.write(`scoutsync: ${describeError(error, { stack: false })}\n`);
  process.exit(1);
}
