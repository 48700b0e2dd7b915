/** True when the time of the day (UTC) is within `HH:MM-HH:MM`, which may go past midnight; always when it is empty. */
export function isWithin(window: string, now: Date): boolean {
  const [from, to] = window.split("-");
  if (from === undefined || to === undefined) return true;
  const time = now.toISOString().slice(11, 16);
  return from <= to ? from <= time && time < to : from <= time || time < to;
}
