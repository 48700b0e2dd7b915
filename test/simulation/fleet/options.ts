/** What a history may contain. Everything that happens follows from the seed and these. */
export interface FleetOptions {
  /** Replicas at the beginning; 0: 3 to 5 by the seed. Clones come on top, up to 7. */
  replicas: number;
  steps: number;
  /** Messages are lost, doubled, swapped, cut and corrupted. */
  faults: boolean;
  /** Nodes die at a statement of a drain, an apply, a read or a start, and are restarted. */
  crashes: boolean;
  /** Nodes are stopped and started, which draws new origins. */
  restarts: boolean;
  /** Backups are put back, and files copied and started as nodes of their own. */
  copies: boolean;
  /** Clocks jump by years, back and forth. */
  jumps: boolean;
  /** Which nodes reach each other changes all the time. */
  partitions: boolean;
  /** Foreign keys to natural keys. */
  naturalParents: boolean;
  /** Tables that refer to themselves. */
  selfReferences: boolean;
  /** Some connections of applications have recursive_triggers on. */
  recursive: boolean;
  /** Keys are changed to integers that rows had which have been deleted, and what refers to them with them. */
  retakes: boolean;
  /** Applications change their schema, each node in its own time. */
  migrations: boolean;
  /** With `migrations`: tables are dropped for good, while nodes that have not migrated yet write to them. */
  drops: boolean;
  /** With `drops`: and are made again later. */
  returns: boolean;
  /** Tables without a primary key, with rows of their own and with equal ones. */
  keyless: boolean;
  /** Names of tables that take part; empty: all that the seed drew. */
  tables: string[];
  trace: boolean;
}

export const FULL: FleetOptions = {
  replicas: 0,
  steps: 70,
  faults: true,
  crashes: true,
  restarts: true,
  copies: true,
  jumps: true,
  partitions: true,
  naturalParents: false,
  selfReferences: false,
  recursive: false,
  retakes: false,
  migrations: false,
  drops: false,
  returns: false,
  keyless: false,
  tables: [],
  trace: false,
};
