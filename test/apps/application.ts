import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type Fleet, type FleetNode, runProgram, until } from "@scoutsync/testkit";

const PYTHON = "/usr/bin/python3";

/** Whether Debian's Python has these modules. */
export const hasModules = (...names: string[]): boolean =>
  spawnSync(PYTHON, ["-c", `import ${names.join(", ")}`], { stdio: "ignore" }).status === 0;

/** Runs programs of the application in the folder `name` on one server's database; what they print. */
export function application(name: string): (path: string, env: Readonly<Record<string, string>>, ...args: string[]) => Promise<string> {
  const cwd = fileURLToPath(new URL(name, import.meta.url));
  return async (path, env, ...args) => {
    const { code, stdout, stderr } = await runProgram(PYTHON, args, {
      cwd,
      env: { ...process.env, APP_DB: path, PYTHONDONTWRITEBYTECODE: "1", ...env },
    });
    if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
    return stdout;
  };
}

/**
 * Runs Django's migrations on one server's database. In their transactions they read before they write, and SQLite refuses that at
 * once, whatever the timeout, where the node has written in between: they are run again, as anybody would.
 */
export async function migrate(path: string, ...which: string[]): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return void (await application("django")(path, {}, "manage.py", "migrate", "-v0", ...which));
    } catch (error) {
      if (tries === 5 || !/database is locked/.test(String(error))) throw error;
    }
  }
}

/** Everyone with everyone until nothing moves. A session may find a table gone that a migration is about to bring back. */
export async function settle(fleet: Fleet, nodes: readonly FleetNode[]): Promise<void> {
  for (let round = 0; round < 6; round++) {
    let moved = 0;
    for (const [i, one] of nodes.entries()) {
      for (const other of nodes.slice(i + 1)) {
        const done = await until(
          async () => {
            const session = await fleet.sync(one, other);
            return session.code === 0 && session;
          },
          { what: `a session of ${one.name} with ${other.name}`, withinMs: 60_000, everyMs: 1_000 },
        );
        const { stats } = done.json<{ stats: Record<string, number> }>();
        moved += (stats["local_changes_sent"] ?? 0) + (stats["remote_changes_received"] ?? 0);
      }
    }
    if (moved === 0) return;
  }
  throw new Error("the nodes never came to rest");
}
