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
    // In CI a test that waited in vain on a busy machine is run once more, and the report says so. What found something
    // wrong is red at once: a row that is lost now and then is lost.
    ...(process.env["CI"] === "true" && { retry: { count: 1, condition: /not within|timed out/ } }),
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
