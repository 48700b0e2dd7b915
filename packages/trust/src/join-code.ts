import { SyncError } from "@scoutsync/core";
import { parseAddress } from "@scoutsync/runtime";

const PREFIX = "scout1-";
const FINGERPRINT_BYTES = 32;
export const SECRET_BYTES = 20;

/** What a join code carries: where to go, whom to trust there, and the right to be let in once. */
export interface JoinCode {
  /** `host:port`, tried in this order. */
  readonly addresses: readonly string[];
  /** SHA-256 of the CA's certificate in DER. */
  readonly fingerprint: Uint8Array;
  readonly secret: string;
}

export function formatJoinCode({ addresses, fingerprint, secret }: JoinCode): string {
  const body = JSON.stringify({ a: addresses, f: Buffer.from(fingerprint).toString("base64url"), s: secret });
  return PREFIX + Buffer.from(body).toString("base64url");
}

/** Throws INVALID_ARGUMENT for what is no join code, or a part of one. */
export function parseJoinCode(text: string): JoinCode {
  try {
    const code = text.trim();
    if (code.startsWith(PREFIX) && code.length < 4_096) {
      const { a, f, s } = JSON.parse(Buffer.from(code.slice(PREFIX.length), "base64url").toString("utf8")) as Record<string, unknown>;
      const addresses = Array.isArray(a) ? a.filter((one): one is string => typeof one === "string" && parseAddress(one) !== null) : [];
      const fingerprint = Buffer.from(typeof f === "string" ? f : "", "base64url");
      if (addresses.length > 0 && fingerprint.length === FINGERPRINT_BYTES && typeof s === "string" && s !== "")
        return { addresses, fingerprint, secret: s };
    }
  } catch {
    // Said below.
  }
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: "this is no join code, or not all of one",
    action: "Copy the whole line that `scoutsync invite` printed.",
  });
}
