import { cpus, totalmem } from "node:os";
import { temporaryFolder } from "@scoutsync/testkit";
import { measureApply } from "./apply.ts";
import { measureAttach } from "./attach.ts";
import { measureCapture } from "./capture.ts";
import { measureFiles } from "./files.ts";
import { measureMigration } from "./migration.ts";
import { measureLive, measureNodes, measureTls } from "./nodes.ts";
import { printTable } from "./table.ts";

// `npm run bench [-- --quick] [--files] [--attach GB]`: `--files` measures files only, `--attach` only how a database of that size is attached. Every figure is a ratio in one run, both sides with synchronous=FULL, or a guide in its unit.
const quick = process.argv.includes("--quick");
const sizes = quick ? [5_000, 20_000, 60_000] : [10_000, 100_000, 1_000_000];
const started = performance.now();
console.log(
  `scoutsync bench: ${cpus().length} × ${cpus()[0]?.model ?? "?"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`,
);
const folder = temporaryFolder("bench");
try {
  const attach = process.argv.indexOf("--attach");
  if (attach > 0) await measureAttach(folder.path, Number(process.argv[attach + 1] ?? 1));
  else if (!process.argv.includes("--files")) {
    measureCapture(
      folder.path,
      sizes.map((size) => Math.min(size, 200_000)),
    );
    measureApply(folder.path, sizes);
    await measureMigration(folder.path, quick ? [60_000] : [200_000, 1_000_000]);
    await measureNodes(folder.path, sizes);
    await measureTls(quick ? 60_000 : 300_000);
    await measureLive();
  }
  if (attach < 0) await measureFiles(quick ? 128 : 1_024, quick ? 5_000 : 50_000);
} finally {
  folder.remove();
}
printTable();
console.log(`\n${Math.round((performance.now() - started) / 1000)} s`);
