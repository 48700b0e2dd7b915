/** Unix microseconds as ISO 8601 UTC with all six digits; empty for 0, which stands for "not known". */
export function formatTime(us: number): string {
  if (us === 0) return "";
  const milliseconds = Math.floor(us / 1000);
  const date = new Date(milliseconds);
  // A clock that was off by centuries must not break a listing.
  if (Number.isNaN(date.getTime())) return `${us}us`;
  const digits = String(us - milliseconds * 1000).padStart(3, "0");
  return `${date.toISOString().slice(0, -1)}${digits}Z`;
}

/** The inverse of `formatTime`; 0 for anything it did not write. */
export function parseTime(text: string): number {
  const match = /^(.*\.\d{3})(\d{3})Z$/.exec(text);
  const milliseconds = match ? Date.parse(`${match[1]}Z`) : Number.NaN;
  return Number.isNaN(milliseconds) ? 0 : milliseconds * 1000 + Number(match?.[2]);
}
