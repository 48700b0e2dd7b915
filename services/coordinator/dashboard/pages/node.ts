import { Resource } from "../api.ts";
import { ago, bytes, clock, count, counted, duration, offset, percent, sentence } from "../format.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { live, nowMs } from "../live.ts";
import type { ErrorPattern, LagPoint, Node, NodeDatabase, NodePage, OperationReliability, Reliability, Session } from "../model.ts";
import { card, chip, emptyState, facts, loaded, meter } from "../parts/blocks.ts";
import { button } from "../parts/button.ts";
import { clockGauge, lagChart, rateText, rateTone, trendChart } from "../parts/charts.ts";
import { icon } from "../parts/icons.ts";
import { missingChanges } from "../parts/missing-changes.ts";
import { pauseNode, removeNode, syncNode } from "../parts/node-actions.ts";
import { adviceLine, briefError, sessionLine, stateChip } from "../parts/node-state.ts";
import { table } from "../parts/table.ts";
import { redraw } from "../redraw.ts";

export const nodeResource = new Resource<NodePage>();

const OPERATIONS: Readonly<Record<string, string>> = {
  connection: "Connect",
  fetch_changes: "Receive changes",
  send_changes: "Send changes",
  apply: "Apply",
  files: "Files",
  sync: "Whole session",
};
let operation = "sync";

/** One node: what it lacks and has to give, how well it works, what it did. */
export function nodePage(id: string): TemplateResult {
  nodeResource.show(`api/nodes/${encodeURIComponent(id)}`);
  // The live state is newer than what was asked for.
  const now = live.fleet?.nodes.find((node) => String(node.id) === id);
  const node = now ?? nodeResource.value?.node;
  return html`<div class="page-head">
      <a class="crumb" href="#/">${icon("left", 16)}Fleet</a>
      <h1 class="wrap">${node?.name ?? "Node"}</h1>
      ${node === undefined ? nothing : stateChip(node.state)}
      ${
        node === undefined
          ? nothing
          : html`<div class="actions">${actions(node)}</div>
              <p>${headline(node)}</p>`
      }
    </div>
    ${loaded(nodeResource, (page) => body(now === undefined ? page.node : withVectors(now, page.node), page))}`;
}

/** Long vectors do not come with what is live. */
function withVectors(now: Node, asked: Node): Node {
  const vectorOf = (name: string) => asked.databases.find((one) => one.name === name)?.vector ?? "";
  return { ...now, databases: now.databases.map((one) => ({ ...one, vector: one.vector || vectorOf(one.name) })) };
}

function actions(node: Node): TemplateResult {
  return html`${button({ label: "Remove", icon: "trash", look: "danger", run: () => removeNode(node) })}
  ${button({ label: node.paused ? "Resume" : "Pause", icon: node.paused ? "play" : "pause", action: `pause ${node.id}`, run: () => pauseNode(node) })}
  ${button({ label: "Sync now", icon: "sync", look: "main", action: `sync ${node.id}`, disabled: node.paused, run: () => syncNode(node) })}`;
}

function headline(node: Node): string {
  return `${node.address} · ${node.version === "" ? "version unknown" : `version ${node.version}`} · ${counted(node.databases.length, "database")}`;
}

function body(node: Node, { reliability, sessions, lag, alerts }: NodePage): TemplateResult {
  const isTold = node.state === "offline" || node.state === "problem" || (node.state === "behind" && node.failures > 0);
  const said = isTold ? ["silent", "failing", "lag", "problem", "diverged"] : [];
  const open = alerts.filter(({ kind, recovered_at }) => recovered_at === null && !said.includes(kind));
  return html`${isTold ? trouble(node) : nothing}
    ${open.map(
      (alert) =>
        html`<p class="problem mild">
          ${icon("warn")}<span>${alert.message} <span class="nowrap">(since ${ago(alert.since)})</span></span>
        </p>`,
    )}
    <div class="grid">
      <div class="span-12 stack">${backlog(node)}${missingChanges(node)}</div>
      <div class="span-7 stack">${lagCard(node, lag)}${reliabilityCard(reliability)}</div>
      <div class="span-5 stack">${machineCard(node)}${databasesCard(node)}</div>
      <div class="span-12">${sessionsCard(sessions)}</div>
    </div>`;
}

const TROUBLES: Readonly<Record<string, string>> = {
  offline: "This node does not answer.",
  behind: "This node cannot be brought up to date.",
};

function trouble(node: Node): TemplateResult {
  const why = node.state === "offline" ? briefError(node.last_error) : sentence(node.state_reason);
  return html`<p class="problem" role="status">
    ${icon("warn")}<span
      ><strong>${TROUBLES[node.state] ?? "This node has a problem."}</strong>
      <span class="wrap">${why}</span>
      ${node.state === "offline" ? html`Last heard ${ago(node.last_seen)}. It is caught up by itself when it returns. ` : nothing}${adviceLine(node)}</span
    >
  </p>`;
}

function backlog(node: Node): TemplateResult {
  const side = (title: string, changes: number, ageS: number, none: string, tone: string) =>
    html`<div class="backlog-side">
      <h2 class="side-title">${title}</h2>
      <p class="big num ${changes > 0 ? `tone-${tone}` : ""}">
        ${count(changes)} <span class="unit">${changes === 1 ? "change" : "changes"}</span>
      </p>
      <p class="muted small">${changes > 0 ? (ageS > 0 ? `the oldest ${duration(ageS)} old` : "age not known yet") : none}</p>
    </div>`;
  return html`<section class="card backlog" aria-label="Backlog in both directions">
    ${side("Has to receive", node.missing_changes, node.oldest_missing_age_s, "has all that the others have", "warn")}
    ${side("Has to send", node.unsent_changes, node.oldest_unsent_age_s, "the others have all of it", "busy")}
    ${side("Captured, not yet in the log", node.pending, 0, "nothing waits in the database", "busy")}
    <div class="backlog-side">
      <h2 class="side-title">Last verified sync</h2>
      <p class="big">${ago(node.last_sync)}</p>
      ${node.session === null ? html`<p class="muted small">${node.failures > 0 ? `${counted(node.failures, "failed session")} since` : "no session runs now"}</p>` : sessionLine(node)}
    </div>
  </section>`;
}

/** Only changes are noted: until now it is what it is now. */
function lagCard({ missing_changes, oldest_missing_age_s }: Node, lag: readonly LagPoint[]): TemplateResult {
  const points = [...lag, { time: new Date(nowMs()).toISOString(), missing_changes, oldest_missing_age_s }];
  const [first] = lag;
  const calm = points.every((point) => point.missing_changes === 0);
  return card(
    "Missing changes over time",
    calm
      ? emptyState(
          "check",
          "Nothing was missing.",
          first === undefined ? "Nothing has been counted yet." : html`Since ${clock(first.time)} it had all that the others had.`,
        )
      : lagChart(points),
  );
}

function reliabilityCard(reliability: Reliability): TemplateResult {
  const entries = Object.entries(reliability.operations);
  const chosen = reliability.operations[operation] ?? entries[0]?.[1];
  const tried = entries.some(([, { total }]) => total > 0);
  const tone = rateTone(reliability.overall_reliability);
  const overall = html`<span class="chip ground-${tone}"
    >${icon(tone === "ok" ? "check" : "warn", 14)}${percent(reliability.overall_reliability)} overall</span
  >`;
  if (!tried || chosen === undefined)
    return card("Reliability", emptyState("clock", "Nothing was tried yet.", "Figures appear after the first session."));
  return card(
    "Reliability",
    html`<ul class="operations">
        ${entries.map(([name, one]) => operationRow(name, one))}
      </ul>
      <h3 class="chart-title">${OPERATIONS[operation] ?? operation}: attempts over time</h3>
      ${chosen.trend.length > 0 ? trendChart(chosen.trend, OPERATIONS[operation] ?? operation) : html`<p class="muted small">No attempts in this period.</p>`}
      <p class="chart-key small muted">
        <span class="key-entry"><span class="key-mark tone-ok"></span>went well</span>
        <span class="key-entry"><span class="key-mark tone-bad"></span>failed</span>
        <span>${duration(chosen.avg_duration)} on average, ${duration(chosen.max_duration)} at most</span>
      </p>
      ${reliability.error_patterns.length === 0 ? nothing : errorPatterns(reliability.error_patterns)}`,
    { extra: overall },
  );
}

function operationRow(name: string, one: OperationReliability): TemplateResult {
  const tone = rateTone(one.success_rate);
  const label = OPERATIONS[name] ?? name;
  const choose = () => {
    operation = name;
    redraw();
  };
  return html`<li>
    <button type="button" aria-pressed=${operation === name} @click=${choose}>
      <span>${label}</span
      >${one.total === 0 ? html`<span></span>` : meter(one.success_rate, tone, `${label} succeeds in ${percent(one.success_rate)}`)}
      <span class="num ${one.total === 0 ? "muted" : `tone-${tone}`}">${rateText(one.success_rate, one.total)}</span>
      <span class="num muted small"
        >${one.total === 0 ? "" : one.failed > 0 ? `${count(one.failed)} of ${count(one.total)} failed` : counted(one.total, "attempt")}</span
      >
    </button>
  </li>`;
}

function errorPatterns(patterns: readonly ErrorPattern[]): TemplateResult {
  return html`<h3 class="chart-title">What went wrong</h3>
    <ul class="patterns">
      ${patterns.map(
        (pattern) =>
          html`<li>
            <span class="num">${count(pattern.count)}×</span>
            <div class="wrap">
              <strong>${OPERATIONS[pattern.operation] ?? pattern.operation}</strong> ${pattern.message}<br /><span class="muted small"
                ><code>${pattern.code}</code> · last ${ago(pattern.last_seen)}</span
              >
            </div>
          </li>`,
      )}
    </ul>`;
}

function machineCard(node: Node): TemplateResult {
  const disk = node.disk;
  const used = disk === null || disk.total_bytes === 0 ? null : 1 - disk.free_bytes / disk.total_bytes;
  const full = used !== null && used > 0.9;
  return card(
    "Machine",
    html`<div class="machine">
      <div>
        <h3>
          Clock <span class="num ${Math.abs(node.clock_offset_ms) > 5_000 ? "tone-bad" : "muted"}">${offset(node.clock_offset_ms)}</span>
        </h3>
        ${clockGauge(node.clock_offset_ms)}
      </div>
      <div>
        <h3>
          Disk
          <span class="num ${full ? "tone-bad" : "muted"}"
            >${disk === null ? "not told" : `${bytes(disk.free_bytes)} free of ${bytes(disk.total_bytes)}`}</span
          >
        </h3>
        ${used === null ? nothing : meter(used, full ? "bad" : "busy", `${percent(used)} of the disk is used`)}
      </div>
      ${facts([
        ["Round trip", !node.online ? "–" : duration(node.round_trip_ms / 1_000)],
        ["Last heard", ago(node.last_seen)],
        [
          "Last ping",
          html`${ago(node.last_ping)}${node.last_ping !== null && !node.ping_success ? html` <span class="tone-bad">failed</span>` : nothing}`,
        ],
        ["Identity", html`<span class="mono">${node.node_id || "not known yet"}</span>`],
      ])}
    </div>`,
  );
}

function databasesCard(node: Node): TemplateResult {
  if (node.databases.length === 0)
    return card("Databases", emptyState("schema", "No database is known yet.", "They are listed once the node has answered."));
  return card(
    "Databases",
    html`<ul class="databases">
        ${node.databases.map(databaseEntry)}
      </ul>
      ${
        node.files.length === 0
          ? nothing
          : html`<h3 class="list-title">File roots</h3>
              <ul class="databases">
                ${node.files.map(
                  ({ root, digest, missing, held_back, conflicts, problem }) =>
                    html`<li>
                      <p class="between">
                        <strong>${root}</strong>
                        ${problem !== "" || held_back ? chip("bad", "warn", held_back ? `${count(missing)} missing` : "Problem") : nothing}
                      </p>
                      ${problem === "" ? nothing : html`<p class="tone-bad wrap">${problem}</p>`}
                      ${conflicts === 0 && !held_back ? nothing : html`<p class="small"><a href="#/review/${node.id}">To review</a></p>`}
                      <p class="mono small muted wrap">digest ${digest}</p>
                    </li>`,
                )}
              </ul>`
      }`,
    { flush: true },
  );
}

function databaseEntry(one: NodeDatabase): TemplateResult {
  const open = one.conflicts + one.parked + one.held;
  return html`<li>
    <p class="between">
      <strong>${one.name}</strong
      >${one.problem !== "" ? chip("bad", "warn", "Problem") : one.missing_changes > 0 ? chip("warn", "down", `${count(one.missing_changes)} missing`) : chip("ok", "check", "Up to date")}
    </p>
    ${one.problem === "" ? nothing : html`<p class="tone-bad wrap">${one.problem}</p>`}
    <p class="muted small">
      ${counted(one.rows, "row")} in
      ${counted(one.tables.length, "table")}${one.pending > 0 ? ` · ${count(one.pending)} pending` : ""}${open > 0 ? html` · <a href="#/review">${count(open)} to review</a>` : nothing}
    </p>
    <details>
      <summary>Vector and digest</summary>
      <p class="mono small wrap">${one.vector || "empty"}</p>
      <p class="mono small wrap muted">${one.digest}</p>
    </details>
  </li>`;
}

function sessionsCard(sessions: readonly Session[]): TemplateResult {
  return card(
    "Recent sessions",
    table({
      label: "Recent sessions, newest first",
      rows: sessions,
      key: ({ id }) => id,
      empty: emptyState("sync", "No session yet.", "One runs as soon as somebody has something that another lacks."),
      columns: [
        {
          head: "With",
          cell: (one) =>
            html`<strong>${one.peer}</strong><span class="sub">${one.role === "source" ? "served the other" : "was caught up"}</span>`,
        },
        { head: "Outcome", phone: "wide", grow: true, cell: outcome },
        { head: "Received", numeric: true, cell: (one) => count(one.database_changes.received) },
        { head: "Sent", numeric: true, cell: (one) => count(one.database_changes.sent) },
        { head: "Files", numeric: true, cell: (one) => count(one.file_changes.uploaded + one.file_changes.downloaded) },
        { head: "Took", numeric: true, cell: (one) => (one.completed_at === null ? "–" : duration(one.duration)) },
        { head: "Began", numeric: true, cell: (one) => html`<span title=${one.started_at}>${clock(one.started_at)}</span>` },
      ],
    }),
    { flush: true },
  );
}

function outcome(session: Session): TemplateResult {
  if (session.success === null) return chip("busy", "sync", "Running", true);
  if (session.success) return session.verified ? chip("ok", "check", "Equal and verified") : chip("ok", "check", "Done, not verified");
  return html`${chip("bad", "off", "Failed")}<span class="sub wrap">${session.errors.map(({ message }) => message).join("; ")}</span>`;
}
