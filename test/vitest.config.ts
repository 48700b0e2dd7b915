import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type Reporter, type TestModule, type TestSpecification } from "vitest/node";

/** In CI, where everything runs at once on two cores, one waits longer before one says that something does not come. */
const PATIENCE = process.env["CI"] === "true" ? 3 : 1;

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * Begun last, the others would have to wait for them: minutes on one core, and between them those that mostly wait, for a lease
 * or a browser, while somebody else has the core.
 */
const LONGEST = [
  "packages/replica/test/simulation.test.ts",
  "test/e2e/crash.test.ts",
  "test/e2e/dashboard.test.ts",
  "test/simulation/fleet.test.ts",
  "services/coordinator/test/pacing.test.ts",
  "services/coordinator/test/outages.test.ts",
  "services/coordinator/test/canary.test.ts",
  "test/e2e/catch-up.test.ts",
  "test/e2e/scope-coordinator.test.ts",
  "test/chaos/full-disk.test.ts",
  "test/chaos/long-transactions.test.ts",
  "test/e2e/large-row.test.ts",
  "test/e2e/put-back.test.ts",
  "services/coordinator/test/large-fleet.test.ts",
  "packages/replica/test/entity-simulation.test.ts",
  "test/simulation/application.test.ts",
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => LONGEST.findIndex((path) => moduleId.endsWith(path));
    const sorted = await super.sort(files);
    const long = sorted.filter((file) => place(file) >= 0).toSorted((one, other) => place(one) - place(other));
    return [...long, ...sorted.filter((file) => place(file) < 0)];
  }
}

/** Says at the end what was wrong the first time with tests that went well when they were run once more. */
class FirstFailures implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      for (const test of module.children.allTests("passed")) {
        if (test.diagnostic()?.flaky !== true) continue;
        console.log(`\nWent well when it was run once more: ${module.relativeModuleId} > ${test.fullName}\nThe first time:`);
        for (const { stack, message } of test.result().errors ?? [])
          console.log((stack ?? message).replaceAll(/\n +at .*\/node_modules\/.*/g, ""));
      }
    }
  }
}

export default defineConfig({
  root,
  test: {
    root,
    // Worker threads and native modules are part of what is tested: each file gets a process of its own.
    pool: "forks",
    // Two cores are the smallest machine this has to pass on; real fleets are several processes per file. Many files wait for
    // most of their time, for a heartbeat, a lease or a browser: with two at a time a core had nothing to do.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    globalSetup: ["test/setup/redis.ts"],
    // In CI a test that waited in vain on a busy machine is run once more, and the report says so. What found something
    // wrong is red at once: a row that is lost now and then is lost. Only tests without rows say otherwise themselves (`ONCE_MORE`).
    ...(process.env["CI"] === "true" && {
      retry: { count: 1, condition: /not within|timed out|Timeout \d+ms exceeded/ },
      reporters: ["default", new FirstFailures()],
    }),
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
          testTimeout: 120_000 * PATIENCE,
          hookTimeout: 60_000 * PATIENCE,
        },
      },
      {
        extends: true,
        test: {
          name: "fleet",
          include: ["test/e2e/**/*.test.ts", "test/interop/**/*.test.ts", "test/chaos/**/*.test.ts", "test/apps/**/*.test.ts"],
          testTimeout: 180_000 * PATIENCE,
          hookTimeout: 60_000 * PATIENCE,
        },
      },
    ],
  },
});
