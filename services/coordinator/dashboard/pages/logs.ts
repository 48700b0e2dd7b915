import { Resource } from "../api.ts";
import { ago, clock, count, sentence } from "../format.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { live } from "../live.ts";
import type { Alert, LogLine, LogPage } from "../model.ts";
import { card, chip, emptyState, facts, loaded, type Tone } from "../parts/blocks.ts";
import { button } from "../parts/button.ts";
import type { IconName } from "../parts/icons.ts";
import { redraw } from "../redraw.ts";

export const logsResource = new Resource<LogPage>();
export const alertsResource = new Resource<{ alerts: Alert[] }>();

const filter = { node: "", status: "", operation: "", page: 1 };
const LOOKS: Readonly<Record<LogLine["status"], readonly [Tone, IconName, string]>> = {
  pending: ["idle", "wait", "Waiting"],
  in_progress: ["busy", "sync", "Running"],
  completed: ["ok", "check", "Done"],
  failed: ["bad", "off", "Failed"],
};

/** One line per attempt: what moved, or why not. Beside it what happens just now. */
export function logsPage(): TemplateResult {
  const query = new URLSearchParams({ page: String(filter.page), page_size: "50" });
  for (const key of ["node", "status", "operation"] as const) if (filter[key] !== "") query.set(key, filter[key]);
  logsResource.show(`api/logs?${query.toString()}`);
  return html`<div class="page-head"><h1>Logs</h1></div>
    <div class="grid">
      <div class="span-8">${card("Attempts", loaded(logsResource, lines), { extra: filters(), flush: true })}</div>
      <div class="span-4 stack">
        ${card("Alerts", loaded(alertsResource.show("api/alerts?open=false&limit=20"), alertList), { flush: true })}
        ${card("Happening now", events(), { flush: true })}
      </div>
    </div>`;
}

function filters(): TemplateResult {
  const choose = (key: "node" | "status" | "operation") => (event: Event) =>
    set({ [key]: (event.target as HTMLSelectElement | HTMLInputElement).value, page: 1 });
  return html`<div class="filters">
    <select class="input" aria-label="Node" @change=${choose("node")}>
      <option value="">All nodes</option>
      ${(live.fleet?.nodes ?? []).map(({ id, name }) => html`<option value=${id} ?selected=${filter.node === String(id)}>${name}</option>`)}
    </select>
    <select class="input" aria-label="Outcome" @change=${choose("status")}>
      <option value="">Any outcome</option>
      ${Object.entries(LOOKS).map(([status, [, , word]]) => html`<option value=${status} ?selected=${filter.status === status}>${word}</option>`)}
    </select>
  </div>`;
}

function set(change: Partial<typeof filter>): void {
  Object.assign(filter, change);
  redraw();
}

function lines({ logs, page, pages, total }: LogPage): TemplateResult {
  if (logs.length === 0) return emptyState("logs", "No attempts.", "Every session leaves a line here, whether it went well or not.");
  return html`<ul class="log-lines">
      ${logs.map(line)}
    </ul>
    <div class="pager">
      <span class="muted small">${count(total)} lines</span>
      ${button({ label: "Newer", icon: "left", small: true, disabled: page <= 1, run: () => set({ page: page - 1 }) })}
      <span class="small num">${count(page)} of ${count(Math.max(1, pages))}</span>
      ${button({ label: "Older", icon: "right", small: true, disabled: page >= pages, run: () => set({ page: page + 1 }) })}
    </div>`;
}

function line(entry: LogLine): TemplateResult {
  const [tone, shape, word] = LOOKS[entry.status];
  const details = detailsOf(entry);
  return html`<li>
    <details>
      <summary>
        ${chip(tone, shape, word, entry.status === "in_progress")}<span class="log-what"
          ><strong>${entry.server_name}</strong> ${entry.operation}</span
        ><span class="log-gist muted small clip">${entry.status === "in_progress" ? "" : gist(details)}</span
        ><span class="muted small num nowrap">${clock(entry.created_at)}</span>
      </summary>
      <div class="log-details">
        ${facts([["Began", ago(entry.created_at)], ["Ended", ago(entry.completed_at, "runs")], ...Object.entries(details).map(([key, value]) => [key.replaceAll("_", " "), html`<span class="wrap">${plain(value)}</span>`] as const)])}
      </div>
    </details>
  </li>`;
}

function detailsOf({ details }: LogLine): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(details);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? (parsed as Record<string, unknown>) : { details };
  } catch {
    return { details };
  }
}

/** The one thing worth reading without opening the line. */
function gist(details: Record<string, unknown>): string {
  const { error, errors, reason, message } = details;
  if (typeof error === "string" && error !== "") return error;
  if (Array.isArray(errors) && errors.length > 0) return plain(errors[0]);
  if (typeof reason === "string" && reason !== "") return reason;
  if (typeof message === "string" && message !== "") return message;
  const source = typeof details["source"] === "string" && details["source"] !== "" ? `with ${details["source"]}` : "";
  const moved = ["received", "sent"].flatMap((key) => amountIn(details["database_changes"], key));
  const files = ["uploaded", "downloaded"].flatMap((key) => amountIn(details["file_changes"], key)).map((text) => `files ${text}`);
  const parts = [...moved, ...files];
  return [source, parts.length > 0 ? parts.join(", ") : "nothing to exchange"].filter((part) => part !== "").join(": ");
}

function amountIn(amounts: unknown, key: string): string[] {
  const amount = typeof amounts === "object" && amounts !== null ? (amounts as Record<string, unknown>)[key] : undefined;
  return typeof amount === "number" && amount > 0 ? [`${count(amount)} ${key}`] : [];
}

function plain(value: unknown): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value === "" ? "–" : value;
  if (typeof value === "number") return count(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length === 0 ? "–" : value.map(plain).join("; ");
  const { message } = value as { message?: unknown };
  if (typeof message === "string") return message;
  return Object.entries(value as Record<string, unknown>)
    .map(([key, part]) => `${key} ${plain(part)}`)
    .join(", ");
}

function alertList({ alerts }: { alerts: Alert[] }): TemplateResult {
  if (alerts.length === 0)
    return emptyState("check", "No alerts.", "What was wrong for longer than the settings allow is listed here, and when it was over.");
  return html`<ul class="alerts" tabindex="0" aria-label="Alerts, newest first">
    ${alerts.map(
      ({ kind, server_name, message, since, recovered_at, notified }) =>
        html`<li>
          <p class="between">
            <strong class="wrap">${server_name || kind}</strong
            >${recovered_at === null ? chip("bad", "warn", "Open") : chip("ok", "check", "Over")}
          </p>
          <p class="wrap">${message.startsWith(`${server_name}: `) ? sentence(message.slice(server_name.length + 2)) : message}</p>
          <p class="muted small">
            since
            ${ago(since)}${recovered_at === null ? nothing : html`, over ${ago(recovered_at)}`}${notified ? ", told by mail or webhook" : ""}
          </p>
        </li>`,
    )}
  </ul>`;
}

function events(): TemplateResult {
  if (live.events.length === 0)
    return emptyState("clock", "Quiet.", "Nodes that come and go and sessions that end are listed here while this page is open.");
  return html`<ul class="events" tabindex="0" aria-label="Events, newest first">
    ${live.events
      .slice(0, 60)
      .map(
        ({ time, server_name, message }) =>
          html`<li>
            <span class="muted small num">${clock(time)}</span
            ><span class="wrap">${server_name === "" ? nothing : html`<strong>${server_name}</strong> `}${message}</span>
          </li>`,
      )}
  </ul>`;
}
