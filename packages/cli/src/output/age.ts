/** Seconds as people say them: `40 s`, `12 min`, `5 h`, `3 days`. */
export function formatAge(seconds: number): string {
  if (seconds <= 0) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** Unix microseconds as ISO 8601 UTC; null for 0, which means "none". */
export function isoTime(microseconds: bigint): string | null {
  return microseconds === 0n ? null : new Date(Number(microseconds / 1000n)).toISOString();
}
