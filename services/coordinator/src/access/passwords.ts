import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { SyncError } from "@scoutsync/core";

const scryptAsync = promisify<string, Buffer, number, { N: number; r: number; p: number; maxmem: number }, Buffer>(scrypt);

/** About 60 ms and 32 MiB each: costly to guess, and bounded by how many logins are checked at once. */
const COST = { N: 2 ** 15, r: 8, p: 1 } as const;
const MEMORY_BYTES = 64 * 1024 * 1024;
const HASH_BYTES = 32;
const SALT_BYTES = 16;
const SHORTEST = 12;
const LONGEST = 1_024;

/** As it is stored: `scrypt:N:r:p:salt:hash`. Throws INVALID_ARGUMENT for one that is too short. */
export async function hashPassword(password: string): Promise<string> {
  if (password.length < SHORTEST || password.length > LONGEST) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `a password has ${SHORTEST} to ${LONGEST} characters`,
      action: "Choose a longer one, for example four words.",
    });
  }
  const salt = randomBytes(SALT_BYTES);
  const hash = await scryptAsync(password, salt, HASH_BYTES, { ...COST, maxmem: MEMORY_BYTES });
  return ["scrypt", COST.N, COST.r, COST.p, salt.toString("base64url"), hash.toString("base64url")].join(":");
}

/** Takes as long for a user that is not there (null) as for one that is. */
export async function isPassword(password: string, stored: string | null): Promise<boolean> {
  const nobody = `scrypt:${COST.N}:${COST.r}:${COST.p}:${"A".repeat(22)}:${"A".repeat(43)}`;
  const [, n, r, p, salt = "", hash = ""] = (stored ?? nobody).split(":");
  const expected = Buffer.from(hash, "base64url");
  const cost = { N: Number(n), r: Number(r), p: Number(p), maxmem: MEMORY_BYTES };
  const given = await scryptAsync(password.slice(0, LONGEST), Buffer.from(salt, "base64url"), expected.length, cost);
  return timingSafeEqual(given, expected) && stored !== null;
}
