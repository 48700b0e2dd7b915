import { findRedis } from "scoutsync";
import { temporaryFolder } from "@scoutsync/testkit";

/** One real Redis for all tests: REDIS_URL, or found and started privately as `npm start` does it. */
export default async function setup(): Promise<() => Promise<void>> {
  const folder = temporaryFolder("redis");
  const redis = await findRedis({ env: process.env, dataDirectory: folder.path, say: (line) => process.stderr.write(`${line}\n`) });
  process.env["REDIS_URL"] = redis.url;
  return async () => {
    await redis.stop();
    folder.remove();
  };
}
