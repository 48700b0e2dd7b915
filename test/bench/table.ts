/** One line of the benchmark's table. `bar` is performance.md's; `within` says whether it is met, null where there is none. */
export interface Measure {
  what: string;
  measured: string;
  bar: string;
  within: boolean | null;
}

const measures: Measure[] = [];

/** Records a figure and prints it at once: a long run shows where it is. */
export function record(measure: Measure): void {
  measures.push(measure);
  console.log(
    `  ${measure.what}: ${measure.measured}${measure.bar === "" ? "" : ` (bar ${measure.bar}${measure.within === false ? ", missed" : ""})`}`,
  );
}

/** Prints what was recorded as one table. */
export function printTable(): void {
  const rows = [
    ["what", "measured", "bar", ""],
    ...measures.map(({ what, measured, bar, within }) => [what, measured, bar, within === null ? "" : within ? "met" : "MISSED"]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  console.log("");
  rows.forEach((row, i) => {
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] as number))
        .join("  ")
        .trimEnd(),
    );
    if (i === 0) console.log(widths.map((width) => "-".repeat(width)).join("  "));
  });
}

export const ratio = (value: number): string => `${value.toFixed(2)}×`;
export const count = (value: number): string => Math.round(value).toLocaleString("en-US");

/** The value below which `share` of the samples lie. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}
