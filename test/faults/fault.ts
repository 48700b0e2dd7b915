/** One rule of the product broken on purpose: what to replace, and the quickest test that must notice. */
export interface Fault {
  name: string;
  /** Exact text, found once in all sources of the product, and what stands there instead. */
  edits: [find: string, replace: string][];
  /** A test file, or seeds of the simulation. */
  caughtBy: string | { seeds: [from: number, count: number]; options?: Record<string, unknown> };
}

/** The path of a test of the replica. */
export const replicaTest = (name: string): string => `packages/replica/test/${name}.test.ts`;
