const WIDTH = 24;

/** `[######··················] 250 of 1,000`; without a total only what is done. */
export function progressBar(done: number, total: number): string {
  const share = total > 0 ? Math.min(1, done / total) : 0;
  const bar = "#".repeat(Math.round(share * WIDTH)).padEnd(WIDTH, "·");
  return `[${bar}] ${done.toLocaleString("en")}${total > 0 ? ` of ${total.toLocaleString("en")}` : ""}`;
}
