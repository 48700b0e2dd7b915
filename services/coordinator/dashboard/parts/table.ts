import { html, nothing, repeat, type TemplateResult } from "../lit.ts";

export interface Column<Row> {
  head: string;
  cell: (row: Row) => unknown;
  /** Numbers stand at the right, so that their digits line up. */
  numeric?: boolean;
  /** On a phone each row is a card: the first column is its title, a "wide" one takes a line, a "half" one half of it instead of a third, a "corner" one stands beside the title, a "desk" one is left out. */
  phone?: "wide" | "half" | "corner" | "desk";
  /** How columns share the width: what may grow, and what is cut when there is no room. */
  grow?: boolean;
}

/**
 * A table that becomes a list of cards on a phone. Roles are written out, because a table that is laid out as blocks
 * would lose them.
 */
export function table<Row>(options: {
  label: string;
  columns: Column<Row>[];
  rows: readonly Row[];
  key: (row: Row) => unknown;
  empty: TemplateResult;
  tone?: (row: Row) => string;
}): TemplateResult {
  const { label, columns, rows, key, empty, tone } = options;
  if (rows.length === 0) return empty;
  return html`<div class="table-scroll">
    <table class="table" role="table" aria-label=${label}>
      <thead role="rowgroup">
        <tr role="row">
          ${columns.map(
            ({ head, numeric, grow }) =>
              html`<th role="columnheader" scope="col" class="${numeric ? "numeric" : ""} ${grow ? "grow" : ""}">
                ${head === "" ? html`<span class="hidden-text">Actions</span>` : head}
              </th>`,
          )}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${repeat(
          rows,
          key,
          (row) =>
            html`<tr role="row" class=${tone?.(row) ?? nothing}>
              ${columns.map(
                ({ head, cell, numeric, phone, grow }) =>
                  html`<td
                    role="cell"
                    class="${numeric ? "numeric num" : ""} ${phone === undefined ? "" : `phone-${phone}`} ${grow ? "grow" : ""}"
                  >
                    <span class="cell-head" aria-hidden="true">${head}</span>
                    <div class="cell">${cell(row)}</div>
                  </td>`,
              )}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
