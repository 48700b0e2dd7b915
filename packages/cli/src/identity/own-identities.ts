import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { hasIdentity, Trust, writePrivately } from "@scoutsync/trust";
import type { Surroundings } from "../surroundings.ts";

/** Where a person's identities are kept, one folder a fleet. */
export function identitiesFolder(env: Surroundings["env"]): string {
  return join(env["XDG_CONFIG_HOME"] || join(env["HOME"] || homedir(), ".config"), "scoutsync");
}

/** The folder of this person's identity in a fleet. */
export function identityFolder(env: Surroundings["env"], fleet: string): string {
  return join(identitiesFolder(env), fleet);
}

/** Every identity of this person that can be read. */
export function ownIdentities(env: Surroundings["env"]): { folder: string; trust: Trust }[] {
  const root = identitiesFolder(env);
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .map((name) => join(root, name))
    .filter(hasIdentity)
    .flatMap((folder) => {
      const trust = Trust.open(folder);
      return trust ? [{ folder, trust }] : [];
    });
}

/** Notes beside an identity where the fleet's authority is on this machine, so that `invite` finds it. */
export function noteAuthority(folder: string, dataDirectory: string): void {
  writePrivately(join(folder, "authority.json"), `${JSON.stringify({ data: dataDirectory })}\n`);
}
