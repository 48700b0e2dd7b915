import type { z } from "zod";
import type { FleetShape } from "../operations/shapes.ts";

type Fleet = z.infer<typeof FleetShape>;
type Node = Fleet["nodes"][number];

/** What has changed since the fleet was told last. Fields that are not there are as they were. */
export interface FleetChanges {
  /** Without `behind`: that is the state of the nodes. */
  certificate?: Omit<Fleet["certificate"], "behind">;
  /** New ones whole, of others the fields that changed. */
  nodes: (Partial<Node> & Pick<Node, "id">)[];
  /** Ids of nodes that are gone. */
  removed: number[];
  jobs?: Fleet["jobs"];
  alerts?: Fleet["alerts"];
  timestamp: string;
}

/** These move all the time. They are told with whatever else changed, and of so many nodes each time without a reason. */
const RESTLESS: ReadonlySet<string> = new Set<keyof Node>([
  "last_seen",
  "last_ping",
  "round_trip_ms",
  "clock_offset_ms",
  "disk",
  "oldest_missing_age_s",
  "oldest_unsent_age_s",
]);
const REFRESHED_AT_ONCE = 20;
/** A vector has an entry per node: a thousand of a thousand are 30 MB. Longer ones, in characters, are left to the page of their node. */
const LONGEST_VECTOR = 2_000;

/** Remembers what those who watch were told, and says what of it is no longer so. */
export class ToldFleet {
  #nodes = new Map<number, Map<string, string>>();
  #certificate = "";
  #jobs = "";
  #alerts = "";
  /** Where the refreshing of what moves all the time has come to. */
  #refreshed = 0;

  /** The fleet with what would be too long left out (empty). */
  static shortened(fleet: Fleet): Fleet {
    const vectors = Object.fromEntries(Object.entries(fleet.certificate.vectors).map(([name, vector]) => [name, short(vector)]));
    const nodes = fleet.nodes.map((node) => ({
      ...node,
      databases: node.databases.map((database) => ({ ...database, vector: short(database.vector) })),
    }));
    return { ...fleet, certificate: { ...fleet.certificate, vectors }, nodes };
  }

  /** What has changed since the last call, of a fleet as `shortened` gives it; null when nothing has. */
  changes({ certificate, nodes, jobs, alerts, timestamp }: Fleet): FleetChanges | null {
    const { behind: _, ...certified } = certificate;
    const before = this.#nodes;
    this.#nodes = new Map(nodes.map((node) => [node.id, fieldsOf(node)]));
    const due = this.#dueForRefresh(nodes);
    const changed = nodes.flatMap((node) => {
      const told = before.get(node.id);
      if (told === undefined) return [node];
      const fields = this.#nodes.get(node.id) ?? new Map<string, string>();
      const differing = [...fields].filter(([field, text]) => told.get(field) !== text).map(([field]) => field);
      if (differing.some((field) => !RESTLESS.has(field)) || (differing.length > 0 && due.has(node.id))) {
        return [{ ...Object.fromEntries(differing.map((field) => [field, node[field as keyof Node]])), id: node.id }];
      }
      this.#nodes.set(node.id, told);
      return [];
    });
    const removed = [...before.keys()].filter((id) => !this.#nodes.has(id));
    const moved = (previous: string, now: unknown) => previous !== JSON.stringify(now);
    const changes: FleetChanges = {
      ...(moved(this.#certificate, certified) ? { certificate: certified } : {}),
      nodes: changed,
      removed,
      ...(moved(this.#jobs, jobs) ? { jobs } : {}),
      ...(moved(this.#alerts, alerts) ? { alerts } : {}),
      timestamp,
    };
    [this.#certificate, this.#jobs, this.#alerts] = [certified, jobs, alerts].map((part) => JSON.stringify(part)) as [
      string,
      string,
      string,
    ];
    const nothing = changed.length === 0 && removed.length === 0 && !changes.certificate && !changes.jobs && !changes.alerts;
    return nothing ? null : changes;
  }

  /** They were told of a session apart from this: where it is over when the fleet is looked at next, they have to be told that. */
  heardOf(id: number, session: Node["session"]): void {
    this.#nodes.get(id)?.set("session", JSON.stringify(session));
  }

  #dueForRefresh(nodes: readonly Node[]): Set<number> {
    const from = nodes.length <= REFRESHED_AT_ONCE ? 0 : this.#refreshed % nodes.length;
    this.#refreshed = from + REFRESHED_AT_ONCE;
    return new Set(nodes.slice(from, from + REFRESHED_AT_ONCE).map(({ id }) => id));
  }
}

function short(vector: string): string {
  return vector.length > LONGEST_VECTOR ? "" : vector;
}

function fieldsOf(node: Node): Map<string, string> {
  return new Map(Object.entries(node).map(([field, value]) => [field, JSON.stringify(value)]));
}
