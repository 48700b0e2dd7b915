import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const root = fileURLToPath(new URL("..", import.meta.url));

export default defineConfig({
  root,
  test: {
    root,
    // Worker threads and native modules are part of what is tested: each file gets a process of its own.
    pool: "forks",
    // Two cores are the smallest machine this has to pass on; real fleets are several processes per file.
    maxWorkers: 2,
    globalSetup: ["test/setup/redis.ts"],
    // In CI a test of real processes that ran into a busy machine is run once more; the report says so, and each of
    // those is to be looked at: what fails now and then may be a bug that shows now and then.
    retry: process.env["CI"] === "true" ? 1 : 0,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: [
            "packages/*/test/**/*.test.ts",
            "services/*/test/**/*.test.ts",
            "test/architecture/**/*.test.ts",
            "test/simulation/**/*.test.ts",
            "test/fuzz/**/*.test.ts",
            "test/deployment/**/*.test.ts",
          ],
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      {
        extends: true,
        test: {
          name: "fleet",
          include: ["test/e2e/**/*.test.ts", "test/interop/**/*.test.ts", "test/chaos/**/*.test.ts", "test/apps/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
