/** What a history of several replicas may contain. Everything that happens follows from the seed and these. */
export interface SimulationOptions {
  replicas: number;
  steps: number;
  /** Replicas are stopped and started, which draws new origins. */
  restarts: boolean;
  /** Wall clocks differ by up to this much, seconds. */
  skewS: number;
  /** MORE_TABLES take part, and files are vacuumed. */
  moreTables: boolean;
  /** Rows also have a counter and a set, which are merged by these rules. */
  rules: boolean;
  /** What is held beyond the vector is issued again at any time. */
  reissue: boolean;
  /** Clocks are compared now and then. */
  clocks: boolean;
  /** One replica is destroyed before the end. */
  lose: boolean;
  trace: boolean;
  /**
   * Deleted rows are forgotten at once when every node that is waited for knows; now and then one node is away, is
   * retired, and comes back; empty nodes join.
   */
  forgetting: boolean;
  /** Databases are copies of one that moved apart before they were attached; the first node says that they are shared. */
  copies: boolean;
  /** Applications that enforce no foreign keys write children before their parents, under integers that others give to theirs. */
  early: boolean;
  /** Applications write to integers that they read before, whatever row has them by now. */
  keepsIds: boolean;
}

export interface Outcome {
  failures: string[];
  changes: number;
  conflicts: number;
  parked: number;
  rounds: number;
  /** Deleted rows that were forgotten, re-joins, and what became of rows in them. */
  forgot: number;
  times: number;
  gone: number;
  reborn: number;
}

/** Three replicas, and nothing out of the ordinary. */
export const ORDINARY: SimulationOptions = {
  replicas: 3,
  steps: 60,
  restarts: true,
  skewS: 30,
  moreTables: false,
  copies: false,
  rules: false,
  reissue: false,
  clocks: false,
  lose: false,
  forgetting: false,
  keepsIds: false,
  early: false,
  trace: false,
};
