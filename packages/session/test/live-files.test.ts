import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { FileRootPool } from "@scoutsync/files";
import { temporaryFolder, until } from "@scoutsync/testkit";
import { expect, onTestFinished, test } from "vitest";
import { Rate, runLiveFiles, type FilePeer } from "../src/index.ts";

test("a root whose list is another one reads what its peer has once more, though nobody has recorded anything", async () => {
  const folder = temporaryFolder("live-files");
  const pool = new FileRootPool();
  const stop = new AbortController();
  mkdirSync(join(folder.path, "root"));
  const root = await pool.open({
    name: "uploads",
    path: join(folder.path, "root"),
    manifestPath: join(folder.path, "files.db"),
    nodeName: "a",
    databases: [],
    exclude: [],
  });
  // As whom it was read, each time.
  const readAs: string[] = [];
  const peer = {
    address: "b",
    async *fileList({ callerIndex, follow }: { callerIndex: string; follow: boolean }, signal: AbortSignal) {
      const index = "b".repeat(16);
      if (follow) await once(signal, "abort");
      else readAs.push(callerIndex);
      yield { index, entries: [], end: { index, seq: 0, digest: root.state.digest, received: 0, pending: 0 }, part: null };
    },
  } as unknown as FilePeer;
  const live = runLiveFiles({ root, peer, nodeName: "a", receiveOnly: false, rate: new Rate(), signal: stop.signal });
  onTestFinished(async () => {
    stop.abort();
    await live;
    await pool.close();
    folder.remove();
  });
  await until(() => readAs.length === 1, { what: "a first exchange" });
  const { index, seq } = root.state;
  await root.placeOf([{ index, seq: seq + 1_000 }]);
  await until(() => readAs.length === 2, { what: "an exchange under the other name" });
  expect(readAs).toEqual([index, root.state.index]);
  expect(readAs[1]).not.toBe(index);
});
