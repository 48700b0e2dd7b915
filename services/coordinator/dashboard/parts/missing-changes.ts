import { Resource } from "../api.ts";
import { ago, count, counted } from "../format.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { live } from "../live.ts";
import type { CellValue, Node, NodeDatabase } from "../model.ts";
import { redraw } from "../redraw.ts";
import { card, emptyState, loaded } from "./blocks.ts";
import { button } from "./button.ts";
import { cellValue } from "./cell-value.ts";
import { table } from "./table.ts";

interface Changes {
  server_name: string;
  database: string;
  more: boolean;
  changes: {
    dot: string;
    table: string;
    key: string;
    operation: string;
    time: string;
    author: string;
    columns: Record<string, CellValue>;
  }[];
}

/** Enough to recognize what it is about; the rest is a number. */
const MOST_SHOWN = 15;
/** Columns of a row that are shown; a row may have a hundred. */
const MOST_COLUMNS = 4;

const OPERATIONS: Readonly<Record<string, string>> = { insert: "new row", update: "changed", delete: "deleted" };

const resources = new Map<string, Resource<Changes>>();
/** The node whose missing changes somebody asked to see. */
let opened: number | null = null;

/** The changes that a node lacks, to read: asked of a node that has them, and only when somebody wants to look. */
export function missingChanges(node: Node): TemplateResult | typeof nothing {
  const lacking = node.databases.filter(({ missing_changes }) => missing_changes > 0);
  if (lacking.length === 0) return nothing;
  if (opened !== node.id) {
    const open = () => {
      opened = node.id;
      resources.clear();
      redraw();
    };
    return card(
      "What it misses",
      html`<div class="between">
        <p class="muted">${lacking.map(({ name, missing_changes }) => `${counted(missing_changes, "change")} of ${name}`).join(", ")}.</p>
        ${button({ label: "Look at the changes", icon: "search", run: open })}
      </div>`,
    );
  }
  return html`${lacking.map((database) => oneDatabase(node, database))}`;
}

function oneDatabase(node: Node, database: NodeDatabase): TemplateResult {
  const title = `What it misses of ${database.name}`;
  const source = bestSource(node, database.name);
  if (source === undefined) {
    return card(title, emptyState("off", "Nobody who has these changes answers now.", "They are known from what nodes said before."));
  }
  const query = new URLSearchParams({
    server_id: String(source.id),
    database: database.name,
    since: database.vector,
    limit: String(MOST_SHOWN),
  });
  const resource = resources.get(database.name) ?? new Resource<Changes>();
  resources.set(database.name, resource);
  resource.show(`api/sync/sqlite3/optimized-changes?${query.toString()}`);
  return card(
    title,
    loaded(resource, (found) => changeTable(found, database.missing_changes)),
    { flush: true },
  );
}

/** Who answers now and lacks least of this database. */
function bestSource(node: Node, name: string): Node | undefined {
  const lack = (other: Node) => other.databases.find((database) => database.name === name)?.missing_changes ?? Infinity;
  return (live.fleet?.nodes ?? [])
    .filter((other) => other.id !== node.id && other.online && !other.paused && lack(other) < Infinity)
    .toSorted((a, b) => lack(a) - lack(b))[0];
}

function changeTable({ changes, server_name }: Changes, total: number): TemplateResult {
  return html`${table({
      label: "Missing changes, oldest first",
      rows: changes,
      key: ({ dot, table: name, key }) => `${dot} ${name} ${key}`,
      empty: emptyState("check", "Nothing is left of them.", "It was caught up meanwhile, or later writes took their place."),
      columns: [
        {
          head: "Row",
          cell: (change) =>
            html`<strong>${change.table}</strong> <span class="mono wrap">${change.key}</span
              ><span class="sub">${OPERATIONS[change.operation] ?? change.operation}</span>`,
        },
        { head: "Values", phone: "wide", grow: true, cell: ({ columns }) => values(columns) },
        { head: "Written on", cell: ({ author }) => author },
        { head: "When", numeric: true, cell: ({ time }) => ago(time) },
      ],
    })}
    <p class="muted small more-note">${count(changes.length)} of ${count(total)}, as ${server_name} holds them</p>`;
}

function values(columns: Record<string, CellValue>): TemplateResult {
  const entries = Object.entries(columns);
  const more = entries.length - MOST_COLUMNS;
  return html`<dl class="inline-values">
    ${entries.slice(0, MOST_COLUMNS).map(
      ([name, value]) =>
        html`<div>
          <dt>${name}</dt>
          <dd>${cellValue(shortened(value))}</dd>
        </div>`,
    )}
    ${more > 0 ? html`<div class="muted">and ${count(more)} more</div>` : nothing}
  </dl>`;
}

function shortened(value: CellValue): CellValue {
  return typeof value === "string" && value.length > 80 ? `${value.slice(0, 79)}…` : value;
}
