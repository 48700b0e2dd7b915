import { spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";

type Environment = Readonly<Record<string, string | undefined>>;

const APT = "/usr/bin/apt-get";
/** Debian's packages ask this program whether they may start their service; 101 means no. */
const SERVICE_POLICY = "/usr/sbin/policy-rc.d";

/** Installs redis-server by apt, where we may, without leaving a service running. False when that is not possible. */
export function installRedis(env: Environment, say: (line: string) => void): boolean {
  if (process.platform !== "linux" || process.getuid?.() !== 0 || !existsSync(APT)) return false;
  say("Redis is not here: installing it (apt-get install redis-server) ...");
  const apt = (...args: string[]) => spawnSync(APT, ["-qq", ...args], { stdio: ["ignore", 2, 2], env: aptEnvironment(env) }).status === 0;
  const policyIsOurs = !existsSync(SERVICE_POLICY);
  if (policyIsOurs) writeFileSync(SERVICE_POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    // Package lists may be missing (containers) or outdated; a failing mirror among several is not the end.
    apt("update");
    if (!apt("install", "-y", "--no-install-recommends", "redis-server")) return false;
  } finally {
    if (policyIsOurs) rmSync(SERVICE_POLICY, { force: true });
  }
  // What we wanted is the program: the machine's next boot should not find a service it never asked for.
  spawnSync("systemctl", ["disable", "redis-server"], { stdio: "ignore" });
  return true;
}

function aptEnvironment(env: Environment): Record<string, string> {
  const kept = ["PATH", "http_proxy", "https_proxy", "no_proxy", "LANG"];
  const entries = kept.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as [string, string]]));
  return { ...Object.fromEntries(entries), DEBIAN_FRONTEND: "noninteractive" };
}
