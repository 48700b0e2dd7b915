import { DEFAULT_TIMING, startWorker } from "../src/index.ts";
import { QUICK, quietLogger } from "./fleet-under-test.ts";

// A worker of its own, for tests that stop a process and not only a function.
const { COORDINATOR: coordinator = "", REDIS: redis = "", TIMING = "quick" } = process.env;
await startWorker({ coordinator, redis, logger: quietLogger(), timing: TIMING === "product" ? DEFAULT_TIMING : QUICK });
