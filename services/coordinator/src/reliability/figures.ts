import type { z } from "zod";
import { OPERATION_NAMES, type OperationName, type OperationReliabilityShape, type ReliabilityShape } from "../operations/shapes.ts";
import type { Registry } from "../registry/registry.ts";
import type { ReliabilityBucket } from "../registry/reliability-store.ts";

/** From here on a node is called reliable, and below here unreliable. */
const GREEN_FROM = 0.95;
const RED_BELOW = 0.7;
const RECENT_MS = 24 * 3_600_000;
const PATTERNS_SHOWN = 20;
type Figures = z.infer<typeof OperationReliabilityShape>;

/** How well one node works. Rates are between 0 and 1, durations seconds. */
export function reliabilityOf(
  registry: Registry,
  server: { id: number; name: string },
  now = new Date(),
): z.infer<typeof ReliabilityShape> {
  const buckets = registry.reliability.buckets(server.id);
  const of = (operation: OperationName) =>
    figuresOf(
      buckets.filter((bucket) => bucket.operation === operation),
      now,
    );
  const operations = Object.fromEntries(OPERATION_NAMES.map((operation) => [operation, of(operation)])) as Record<OperationName, Figures>;
  const overall = overallOf(Object.values(operations));
  return {
    server_id: server.id,
    server_name: server.name,
    overall_reliability: overall,
    level: overall >= GREEN_FROM ? "green" : overall < RED_BELOW ? "red" : "yellow",
    operations,
    error_patterns: registry.reliability.patterns(server.id).slice(0, PATTERNS_SHOWN),
  };
}

/** The mean success rate of the steps that were tried, so that a thousand answered questions do not hide ten failed sessions; 1 when nothing was. */
export function overallOf(operations: readonly { success_rate: number; total: number }[]): number {
  const tried = operations.filter((operation) => operation.total > 0);
  if (tried.length === 0) return 1;
  return rounded(tried.reduce((sum, operation) => sum + operation.success_rate, 0) / tried.length);
}

/** As `overall_reliability`, from how often each step was tried and failed. */
export function overallFrom(totals: readonly { total: number; failed: number }[]): number {
  return overallOf(totals.map(({ total, failed }) => ({ total, success_rate: total === 0 ? 1 : rounded((total - failed) / total) })));
}

function figuresOf(buckets: readonly ReliabilityBucket[], now: Date): Figures {
  const recentFrom = new Date(now.getTime() - RECENT_MS).toISOString();
  const recent = sumOf(buckets.filter((bucket) => startOf(bucket.bucket) >= recentFrom));
  const earlier = sumOf(buckets.filter((bucket) => startOf(bucket.bucket) < recentFrom));
  const all = sumOf(buckets);
  return {
    success_rate: all.success_rate,
    total: all.total,
    failed: all.failed,
    avg_duration: all.avg_duration,
    max_duration: buckets.reduce((most, bucket) => Math.max(most, bucket.max_duration_s), 0),
    trend: buckets.map((bucket) => ({ time: startOf(bucket.bucket), ...sumOf([bucket]) })),
    change: recent.total > 0 && earlier.total > 0 ? rounded(recent.success_rate - earlier.success_rate) : 0,
  };
}

function sumOf(buckets: readonly ReliabilityBucket[]) {
  const total = buckets.reduce((sum, bucket) => sum + bucket.total, 0);
  const failed = buckets.reduce((sum, bucket) => sum + bucket.failed, 0);
  const duration = buckets.reduce((sum, bucket) => sum + bucket.duration_s, 0);
  return {
    total,
    failed,
    success_rate: total === 0 ? 1 : rounded((total - failed) / total),
    avg_duration: total === 0 ? 0 : rounded(duration / total),
  };
}

/** When an hour or a day began, ISO 8601 UTC. */
function startOf(bucket: string): string {
  return bucket.length === 10 ? `${bucket}T00:00:00.000Z` : `${bucket}:00:00.000Z`;
}

function rounded(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}
