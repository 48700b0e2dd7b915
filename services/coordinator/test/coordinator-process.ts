import { DEFAULT_TIMING, startCoordinator } from "../src/index.ts";
import { QUICK, quietLogger } from "./fleet-under-test.ts";

// A coordinator of its own, for tests that kill a process and not only stop a function.
const { LISTEN: listen = "", REDIS: redis = "", DIRECTORY: dataDirectory = "", TIMING = "quick" } = process.env;
await startCoordinator({
  listen,
  http: null,
  redis,
  dataDirectory,
  logger: quietLogger(),
  timing: TIMING === "product" ? DEFAULT_TIMING : QUICK,
});
process.stdout.write("ready\n");
