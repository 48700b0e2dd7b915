/** A table for a terminal: columns as wide as their content, the last one cut where the screen ends. */
export function renderTable(columns: readonly string[], rows: readonly (readonly string[])[], screen: number): string {
  const widths = columns.map((name, at) => Math.max(name.length, ...rows.map((row) => (row[at] ?? "").length)));
  const rule = widths.map((width) => "─".repeat(width)).join("──");
  const line = (cells: readonly string[]) =>
    cut(
      widths
        .map((width, at) =>
          align(
            cells[at] ?? "",
            width,
            rows.every((row) => isNumeric(row[at] ?? "")),
          ),
        )
        .join("  "),
      screen,
    );
  return [line(columns), cut(rule, screen), ...rows.map(line)].join("\n");
}

function align(text: string, width: number, right: boolean): string {
  return right ? text.padStart(width) : text.padEnd(width);
}

function isNumeric(text: string): boolean {
  return text === "" || /^-?[\d,.]+$/.test(text);
}

/** The text as far as it fits. */
export function cut(text: string, width: number): string {
  const trimmed = text.trimEnd();
  return trimmed.length > width ? `${trimmed.slice(0, Math.max(1, width - 1))}…` : trimmed;
}
