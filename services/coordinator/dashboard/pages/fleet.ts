import { ago, count, counted, duration, offset, percent } from "../format.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { live } from "../live.ts";
import type { Fleet, Node, NodeState } from "../model.ts";
import { fleetActions } from "../parts/fleet-actions.ts";
import { attentionList } from "../parts/attention.ts";
import { card, chip, emptyState, meter } from "../parts/blocks.ts";
import { button } from "../parts/button.ts";
import { rateTone } from "../parts/charts.ts";
import { fleetMap } from "../parts/fleet-map.ts";
import { foundNodes } from "../parts/found-nodes.ts";
import { icon } from "../parts/icons.ts";
import { addNode, syncNode } from "../parts/node-actions.ts";
import {
  adviceLine,
  byNeed,
  lagCell,
  lookOf,
  missingText,
  NODE_STATES,
  reasonText,
  reviewTotal,
  sessionLine,
  stateChip,
} from "../parts/node-state.ts";
import { table, type Column } from "../parts/table.ts";
import { redraw } from "../redraw.ts";

const ROWS_AT_ONCE = 50;
/** `from` is the state that the address names; the person may choose another one in the table. */
const filter: { text: string; state: NodeState | ""; from: NodeState | ""; shown: number } = {
  text: "",
  state: "",
  from: "",
  shown: ROWS_AT_ONCE,
};

/** The whole fleet at a glance. */
export function fleetPage(): TemplateResult {
  return fleetInState("");
}

/** The same with the table narrowed to nodes in one state. */
export function statePage(state: string): TemplateResult {
  return fleetInState(NODE_STATES.find((known) => known === state) ?? "");
}

function fleetInState(wanted: NodeState | ""): TemplateResult {
  if (wanted !== filter.from) Object.assign(filter, { from: wanted, state: wanted, shown: ROWS_AT_ONCE });
  const { fleet } = live;
  if (fleet === null)
    return html`<h1 class="hidden-text">Fleet</h1>
      <div class="loading" role="status">Asking the coordinator…</div>`;
  if (fleet.nodes.length === 0) return firstNode();
  return html`<div class="page-head">
      <h1>Fleet</h1>
      <div class="actions">${fleetActions(fleet)}</div>
    </div>
    <div class="grid">
      <div class="span-12">${verdict(fleet)}</div>
      <div class="span-5">${card("Needs attention", attentionList(fleet), { flush: true })}</div>
      <div class="span-7">${card("Map", fleetMap(fleet.nodes, fleet.certificate))}</div>
      ${foundNodes()}
      <div class="span-12">${nodeTable(fleet)}</div>
    </div>`;
}

function firstNode(): TemplateResult {
  return html`<div class="page-head"><h1>Fleet</h1></div>
    ${card(
      "No nodes yet",
      emptyState(
        "fleet",
        "No node has registered yet.",
        html`Start one beside a database, and it appears here by itself:<br /><code class="command"
            >scoutsync node --name first --db main=/srv/app/app.db --coordinator HOST:7070</code
          >`,
        button({ label: "Add a node by address", icon: "plus", look: "main", run: addNode }),
      ),
    )}
    <div class="grid">${foundNodes()}</div>`;
}

/** Digests of servers that are not migrated yet are of other columns. */
function equalText(nodes: readonly Node[]): string {
  return nodes.some(({ review_counts }) => review_counts.schema > 0) ? "Same changes" : "Same changes, same row digests";
}

/** One sentence that says how the fleet is, and the numbers behind it. */
function verdict({ certificate, nodes, jobs }: Fleet): TemplateResult {
  const counting = nodes.filter(({ paused }) => !paused);
  const behind = counting.filter(({ state }) => state !== "equal");
  const missing = counting.reduce((sum, node) => sum + node.missing_changes, 0);
  const oldest = Math.max(0, ...counting.map((node) => node.oldest_missing_age_s));
  const online = counting.filter((node) => node.online).length;
  const review = reviewTotal(nodes);
  const tone = certificate.converged ? "ok" : counting.some(({ state }) => state === "offline" || state === "problem") ? "bad" : "warn";
  return html`<section class="verdict-card edge-${tone}" aria-label="State of the fleet">
    <div class="verdict-text">
      <span class="verdict-icon ground-${tone}">${icon(certificate.converged ? "check" : tone === "bad" ? "warn" : "down", 24)}</span>
      <div>
        <p class="verdict-line">${verdictLine(certificate.converged, counting, behind)}</p>
        <p class="muted">
          ${certificate.converged ? equalText(nodes) : "Not all equal"} since
          ${ago(certificate.since)}${vectorText(certificate.vectors, certificate.converged)}
        </p>
      </div>
    </div>
    <dl class="figures">
      ${figure("Online", `${count(online)} / ${count(counting.length)}`, online < counting.length ? "bad" : "")}
      ${figure("Missing changes", count(missing), missing > 0 ? "warn" : "")}
      ${figure("Oldest missing", oldest > 0 ? duration(oldest) : "–", oldest > 60 ? "warn" : "")}
      ${figure("To review", count(review), review > 0 ? "warn" : "")} ${figure("Running", count(jobs.active), "")}
    </dl>
  </section>`;
}

function verdictLine(converged: boolean, counting: readonly Node[], behind: readonly Node[]): string {
  if (counting.length === 0) return "Every node is paused";
  if (converged) return counting.length === 1 ? "The only node is up to date" : `All ${count(counting.length)} nodes are equal`;
  const [worst] = behind.toSorted(byNeed);
  if (worst === undefined) return "Nodes are up to date, waiting for the last confirmation";
  if (behind.length === 1) {
    const state = worst.state === "problem" ? "has a problem" : `is ${lookOf(worst.state).word.toLowerCase()}`;
    return worst.missing_changes === 0 ? `${worst.name} ${state}` : `${worst.name} ${state} and ${missingText(worst)}`;
  }
  return `${count(behind.length)} of ${count(counting.length)} nodes are not up to date`;
}

function vectorText(vectors: Record<string, string>, converged: boolean): unknown {
  const names = Object.keys(vectors);
  if (!converged || names.length === 0) return nothing;
  return html` <details class="vectors">
    <summary>at these vectors</summary>
    <dl>
      ${names.map(
        (name) =>
          html`<div>
            <dt>${name}</dt>
            <dd class="mono wrap">${vectors[name] || "empty"}</dd>
          </div>`,
      )}
    </dl>
  </details>`;
}

function figure(name: string, value: string, tone: string): TemplateResult {
  return html`<div>
    <dt>${name}</dt>
    <dd class="num ${tone === "" ? "" : `tone-${tone}`}">${value}</dd>
  </div>`;
}

function nodeTable({ nodes }: Fleet): TemplateResult {
  const wanted = filter.text.trim().toLowerCase();
  const found = nodes
    .filter((node) => filter.state === "" || node.state === filter.state)
    .filter((node) => wanted === "" || `${node.name} ${node.address}`.toLowerCase().includes(wanted))
    .toSorted(byNeed);
  const most = Math.max(1, ...nodes.map((node) => Math.max(node.missing_changes, node.unsent_changes)));
  const controls = html`<div class="filters">
    <label class="search"
      >${icon("search", 17)}<span class="hidden-text">Find a node</span
      ><input
        class="input"
        type="search"
        placeholder="Find a node"
        .value=${filter.text}
        @input=${(event: InputEvent) => setFilter({ text: (event.target as HTMLInputElement).value })}
    /></label>
    <select
      class="input"
      aria-label="State"
      @change=${(event: Event) => setFilter({ state: (event.target as HTMLSelectElement).value as NodeState | "" })}
    >
      <option value="">All states</option>
      ${NODE_STATES.map((state) => html`<option value=${state} ?selected=${filter.state === state}>${lookOf(state).word}</option>`)}
    </select>
  </div>`;
  const more = found.length - filter.shown;
  return card(
    "Nodes",
    html`${table({
      label: "Nodes, worst first",
      columns: nodeColumns(most),
      rows: found.slice(0, filter.shown),
      key: ({ id }) => id,
      empty: emptyState("search", "No node matches.", "Change the search or the state."),
    })}${more > 0 ? html`<div class="more">${button({ label: `Show ${count(Math.min(more, ROWS_AT_ONCE))} more of ${count(more)}`, run: () => setFilter({ shown: filter.shown + ROWS_AT_ONCE }) })}</div>` : nothing}`,
    { extra: controls, flush: true },
  );
}

function setFilter(change: Partial<typeof filter>): void {
  Object.assign(filter, change);
  redraw();
}

function nodeColumns(most: number): Column<Node>[] {
  return [
    {
      head: "Node",
      cell: (node) => html`<a href="#/nodes/${node.id}">${node.name}</a><span class="sub">${node.address}</span>`,
    },
    {
      head: "State",
      phone: "wide",
      grow: true,
      cell: (node) =>
        html`${stateChip(node.state)}${node.session === null ? html`<span class="sub wrap">${reasonText(node)} ${adviceLine(node)}</span>` : sessionLine(node)}`,
    },
    {
      head: "Has to receive",
      phone: "half",
      cell: (node) => lagCell(node.missing_changes, node.oldest_missing_age_s, most, node.online ? "warn" : "bad"),
    },
    { head: "Has to send", phone: "half", cell: (node) => lagCell(node.unsent_changes, node.oldest_unsent_age_s, most, "busy") },
    { head: "Verified sync", cell: (node) => ago(node.last_sync) },
    {
      head: "Reliability",
      numeric: true,
      cell: (node) =>
        html`<div class="rate">
          <span class="tone-${rateTone(node.reliability)}">${percent(node.reliability)}</span
          >${meter(node.reliability, rateTone(node.reliability), `Reliability ${percent(node.reliability)}`)}
        </div>`,
    },
    {
      head: "Clock",
      numeric: true,
      phone: "desk",
      cell: (node) =>
        node.online
          ? html`<span class=${Math.abs(node.clock_offset_ms) > 5_000 ? "tone-bad" : ""}>${offset(node.clock_offset_ms)}</span>`
          : html`<span class="muted">–</span>`,
    },
    {
      head: "Review",
      numeric: true,
      cell: (node) =>
        node.review === 0
          ? html`<span class="muted">0</span>`
          : html`<a href="#/review/${node.id}" aria-label="${counted(node.review, "entry", "entries")} to review on ${node.name}"
              >${chip("warn", "review", count(node.review))}</a
            >`,
    },
    {
      head: "",
      phone: "corner",
      cell: (node) =>
        html`<div class="row-actions">
          ${button({ label: "Sync", name: `Sync ${node.name} now`, icon: "sync", small: true, action: `sync ${node.id}`, disabled: node.paused, run: () => syncNode(node) })}
        </div>`,
    },
  ];
}
