import { ago, count, counted, duration, sentence } from "../format.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import type { Node, NodeState, RunningSession } from "../model.ts";
import { chip, meter, progress, type Tone } from "./blocks.ts";
import type { IconName } from "./icons.ts";

interface Look {
  tone: Tone;
  icon: IconName;
  word: string;
  /** Worst first. */
  rank: number;
}

const LOOKS: Readonly<Record<NodeState, Look>> = {
  problem: { tone: "bad", icon: "warn", word: "Problem", rank: 0 },
  offline: { tone: "bad", icon: "off", word: "Offline", rank: 1 },
  behind: { tone: "warn", icon: "down", word: "Behind", rank: 2 },
  syncing: { tone: "busy", icon: "sync", word: "Syncing", rank: 3 },
  paused: { tone: "idle", icon: "pause", word: "Paused", rank: 4 },
  equal: { tone: "ok", icon: "check", word: "Up to date", rank: 5 },
};

export const NODE_STATES = Object.keys(LOOKS) as NodeState[];

export function lookOf(state: NodeState): Look {
  return LOOKS[state] ?? LOOKS.problem;
}

export function stateChip(state: NodeState): TemplateResult {
  const { tone, icon, word } = lookOf(state);
  return chip(tone, icon, word, state === "syncing");
}

/** Worst first, then who misses most, then by name. */
export function byNeed(a: Node, b: Node): number {
  return lookOf(a.state).rank - lookOf(b.state).rank || b.missing_changes - a.missing_changes || a.name.localeCompare(b.name);
}

/** How many decisions wait in the fleet. A conflict, and a row kept out, is listed by every node that has the row; the others are each node's own. */
export function reviewTotal(nodes: readonly Node[]): number {
  return Object.values(reviewCounts(nodes)).reduce((sum, open) => sum + open, 0);
}

/** The same by kind. */
export function reviewCounts(nodes: readonly Node[]): Node["review_counts"] {
  const most = (kind: "conflict" | "parked") => Math.max(0, ...nodes.map(({ review_counts }) => review_counts[kind]));
  const all = (kind: "quarantine" | "file" | "schema" | "identity") =>
    nodes.reduce((sum, { review_counts }) => sum + review_counts[kind], 0);
  return {
    conflict: most("conflict"),
    parked: most("parked"),
    quarantine: all("quarantine"),
    file: all("file"),
    schema: all("schema"),
    identity: all("identity"),
  };
}

/** "misses 1,240 changes, the oldest 4 min old", or "misses nothing". */
export function missingText(node: Pick<Node, "missing_changes" | "oldest_missing_age_s" | "databases">): string {
  if (node.missing_changes === 0) return "misses nothing";
  const age = node.oldest_missing_age_s > 0 ? `, the oldest ${duration(node.oldest_missing_age_s)} old` : "";
  return `misses ${counted(node.missing_changes, "change")}${whereText(node)}${age}`;
}

/** Of which databases the missing changes are, where there are several to tell apart. */
function whereText({ databases }: Pick<Node, "databases">): string {
  const lacking = databases.filter(({ missing_changes }) => missing_changes > 0);
  if (databases.length < 2 || lacking.length === 0) return "";
  if (lacking.length === 1) return ` of ${lacking[0]?.name ?? ""}`;
  return ` (${lacking.map(({ name, missing_changes }) => `${name} ${count(missing_changes)}`).join(", ")})`;
}

/** Why a node is in its state, as one or two short sentences. */
export function reasonText(node: Node): unknown {
  if (node.state === "equal") return "";
  if (node.state !== "offline") return sentence(node.state_reason);
  return html`Last heard ${ago(node.last_seen)}. ${briefError(node.last_error)}`;
}

/** What somebody should do about a node, if anything. */
export function adviceLine({ advice }: Pick<Node, "advice">): TemplateResult | typeof nothing {
  return advice === "" ? nothing : html`<span class="advice"><strong>What to do:</strong> ${advice}</span>`;
}

/** What went wrong, without the advice behind it. */
export function briefError(error: string): string {
  return sentence(error.replace(/\. Check that .*$/s, ""));
}

/** Missing changes as a number with a bar: as long as this is of the largest in the fleet. */
export function lagCell(changes: number, ageS: number, most: number, tone: Tone): TemplateResult {
  if (changes === 0) return html`<span class="muted">0</span>`;
  // By logarithm, so that 10 and 10,000 can both be seen.
  const share = Math.log1p(changes) / Math.log1p(Math.max(most, 1));
  return html`<div class="lag">
    <span class="num">${count(changes)}${ageS > 0 ? html`<span class="muted"> · ${duration(ageS)}</span>` : ""}</span
    >${meter(share, tone, `${count(changes)} of at most ${count(most)} in the fleet`)}
  </div>`;
}

const PHASES: Readonly<Record<string, { node: string; source: string }>> = {
  pull: { node: "receiving from", source: "sending to" },
  push: { node: "sending to", source: "receiving from" },
  verify: { node: "comparing with", source: "comparing with" },
  files: { node: "exchanging files with", source: "exchanging files with" },
};

/** What a running session is doing, seen from one of its ends. */
export function sessionText({ phase, role, peer, database }: RunningSession): string {
  return `${PHASES[phase]?.[role] ?? "in a session with"} ${peer}${database === "" ? "" : ` (${database})`}`;
}

/** The same with how far it is, and a bar. */
export function sessionLine({ session }: Node): TemplateResult {
  if (session === null) return html``;
  const doing = sessionText(session);
  const { done, total } = session;
  const amount = total > 0 ? `${count(done)} of ${count(total)} changes` : done > 0 ? counted(done, "change") : "";
  return html`<div class="session-line">
    <span class="small">${doing}${amount === "" ? "" : html` · <span class="num">${amount}</span>`}</span>
    ${progress(done, total, `${doing}, ${amount || "just begun"}`)}
  </div>`;
}
