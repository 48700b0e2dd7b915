import { formatVector, type FileEntry, type Origin } from "@scoutsync/core";
import { seededRandom } from "@scoutsync/testkit";
import { next, plan } from "../src/index.ts";

interface ModelNode {
  author: Origin;
  entry: FileEntry | null;
  /** Contents that were displaced or lost here. */
  store: Set<string>;
  clockUs: number;
}

const STEPS = 40;
const ROUNDS = 6;

/**
 * One path on 2 to 5 nodes: people edit, delete, change bits; pairs exchange in one direction, in any order, with clocks that
 * jump and manifests that are lost. The ledger holds what each node had when it took something in.
 */
function playSeed(seed: number): void {
  const random = seededRandom(seed);
  let authors = 0;
  const newAuthor = () => `${"abcdefghij"[authors % 10]}${"abcdefghij"[Math.floor(authors++ / 10)]}`.padEnd(16, "a") as Origin;
  const nodes: ModelNode[] = Array.from({ length: 2 + random.below(4) }, () => ({
    author: newAuthor(),
    entry: null,
    store: new Set<string>(),
    clockUs: 1_000_000 * random.below(1_000),
  }));
  let contents = 0;
  const versions = new Map<string, string>();
  const set = (node: ModelNode, entry: FileEntry) => {
    const key = formatVector(entry.version);
    const content = `${entry.kind} ${entry.hash} ${entry.mode}`;
    if ((versions.get(key) ?? content) !== content) throw new Error(`version ${key} stands for ${versions.get(key) ?? ""} and ${content}`);
    versions.set(key, content);
    node.entry = entry;
  };
  const edit = (node: ModelNode, change: Partial<FileEntry>) => {
    node.clockUs += 1_000 * (1 + random.below(2_000));
    const version = next(node.entry?.version ?? new Map(), { author: node.author, nowUs: node.clockUs });
    const stampUs = Math.max(node.clockUs, (node.entry?.stampUs ?? 0) + 1);
    const empty: FileEntry = {
      path: "x",
      kind: "file",
      hash: "",
      size: 0,
      mode: 6,
      modifiedUs: 0,
      version,
      stampUs,
      author: "",
      before: "",
      cause: "",
      losers: [],
    };
    set(node, { ...empty, ...node.entry, ...change, version, stampUs });
  };
  const content = () => (++contents).toString(16).padStart(64, "0");
  const receive = (to: ModelNode, from: ModelNode): boolean => {
    if (!from.entry) return false;
    const held = to.entry?.kind === "file" ? to.entry.hash : "";
    const planned = plan(to.entry, from.entry, { author: to.author, nowUs: to.clockUs });
    if (planned.step === "nothing") return false;
    if (planned.step === "settle" && planned.loser) to.store.add(planned.loser.hash);
    if (held !== "" && planned.row.hash !== held) to.store.add(held);
    if (planned.step === "take" && from.entry.kind === "file" && planned.row.hash !== from.entry.hash) throw new Error("took other bytes");
    set(to, planned.row);
    if (held !== "" && to.entry?.hash !== held && !to.store.has(held)) throw new Error("lost bytes");
    return true;
  };
  for (let step = 0; step < STEPS; step++) {
    const node = random.pick(nodes);
    const dice = random.below(100);
    if (dice < 30) edit(node, { kind: "file", hash: random.below(5) === 0 ? "f".repeat(64) : content(), mode: 6 });
    else if (dice < 38 && node.entry && node.entry.kind !== "gone")
      edit(node, { kind: "gone", hash: "", mode: 0, before: node.entry.hash });
    else if (dice < 42 && node.entry?.kind === "file") edit(node, { mode: node.entry.mode === 6 ? 7 : 6 });
    else if (dice < 46) edit(node, { kind: "folder", hash: "", mode: 7 });
    else if (dice < 52) node.clockUs = Math.max(0, node.clockUs + 1_000_000 * (random.below(200) - 100));
    else if (dice < 55) {
      // The manifest is lost, the file is not: it is an author's first version.
      node.author = newAuthor();
      const { entry } = node;
      node.entry = null;
      if (entry && entry.kind !== "gone") edit(node, { kind: entry.kind, hash: entry.hash, mode: entry.mode });
    } else receive(node, random.pick(nodes));
  }
  for (let round = 0; ; round++) {
    let moved = false;
    for (const to of nodes) for (const from of nodes) if (to !== from && receive(to, from)) moved = true;
    if (!moved) break;
    if (round === ROUNDS) throw new Error("no end");
  }
  const ends = new Set(
    nodes.map(({ entry }) =>
      entry ? `${entry.kind} ${entry.hash} ${entry.mode} ${formatVector(entry.version)} ${JSON.stringify(entry.losers)}` : "nothing",
    ),
  );
  if (ends.size > 1) throw new Error(`nodes differ: ${[...ends].join(" | ")}`);
}

/** Throws with the first seed that fails. */
export function runPlannerSeeds(from: number, count: number): void {
  for (let seed = from; seed < from + count; seed++) {
    try {
      playSeed(seed);
    } catch (error) {
      throw new Error(`planner seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}
