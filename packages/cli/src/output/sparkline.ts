const BARS = "▁▂▃▄▅▆▇█";

/** Values between 0 and 1 as a line of bars. */
export function sparkline(values: readonly number[]): string {
  return values.map((value) => BARS[Math.min(BARS.length - 1, Math.max(0, Math.floor(value * BARS.length)))]).join("");
}
