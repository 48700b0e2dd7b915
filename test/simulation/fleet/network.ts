import { seededRandom, type Random } from "@scoutsync/testkit";
import type { FleetHistory } from "./history.ts";
import { isMended } from "./mending.ts";
import type { SimulatedNode } from "./node.ts";
import { CALM, Session, type Delivery, type Weather } from "./session.ts";
import { shownTables } from "./verdict.ts";

const MOST_OLD_MESSAGES = 60;
/** A stream of more is one that has no end: no history here writes so much. */
const MOST_MESSAGES = 10_000;

/** The streams between the nodes, with what is on the wire and what may still come from streams that ended. */
export class Network {
  /** Group by node index: nodes of different groups do not reach each other. */
  groups: number[] = [];
  private sessions: Session[] = [];
  private old: Uint8Array[] = [];
  private readonly history: FleetHistory;

  constructor(history: FleetHistory) {
    this.history = history;
  }

  /** Cuts every stream from or to this node. */
  endSessions(node: SimulatedNode): void {
    for (const session of this.sessions) {
      if (session.from !== node && session.to !== node) continue;
      session.intact = false;
      this.keep(session.wire);
    }
    this.sessions = this.sessions.filter(({ from, to }) => from !== node && to !== node);
  }

  private weather(random: Random): Weather {
    if (!this.history.options.faults || random.below(2) === 0) return CALM;
    const percent = () => (random.below(2) === 0 ? 0 : random.below(15));
    return { lose: percent(), double: percent(), swap: percent(), cut: percent(), flip: percent() };
  }

  /** A stream that is delivered to its end, unless it is cut, or one that is only begun. */
  sync(to: SimulatedNode, from: SimulatedNode, random: Random, whole: boolean, crash: () => void): void {
    if (to === from || this.groups[to.index] !== this.groups[from.index]) return;
    const batchSize = random.below(2) === 0 ? 0 : 1 + random.below(4);
    this.history.alive([to, from], () => {
      const session = new Session({ from, to, weather: this.weather(random), batchSize, random });
      if (!whole) {
        session.serve();
        this.sessions.push(session);
        return;
      }
      crash();
      // A stream may be cut anywhere.
      const cut = random.below(4) === 0 ? random.below(6) : Number.POSITIVE_INFINITY;
      for (let messages = 0; messages < cut; messages++) {
        if (!this.advance(session)) break;
        if (messages > MOST_MESSAGES) throw new Error(`the stream ${to.name} <- ${from.name} does not end`);
      }
      if (!session.over) this.keep(session.wire);
    });
  }

  /** One message further; false at the end. */
  private advance(session: Session): boolean {
    if (session.wire.length < 2) session.serve();
    if (session.wire.length === 0) return false;
    this.note(session, session.deliver());
    return !session.over;
  }

  private note(session: Session, delivery: Delivery | null): void {
    if (!session.intact) this.history.counts.damaged++;
    if (!delivery) return;
    this.history.counts.changes += delivery.applied;
    this.history.trace(
      `  ${session.to.name} <- ${session.from.name}: ${delivery.received} changes, ${delivery.applied} applied, verified ${delivery.verified}`,
    );
    if (delivery.verified === false && !isMended(this.history, session.to, session.from)) {
      const rows = [session.to, session.from].map((node) => [node.name, this.shown(node).join("\n")].join(":\n"));
      this.history.fail(`R2 digests differ at equal vectors after ${session.to.name} <- ${session.from.name}\n${rows.join("\n")}`);
    }
    session.to.lookForLosers();
  }

  private shown(node: SimulatedNode): string[] {
    const db = node.connections[0]?.db;
    return db ? shownTables(node, this.history.tablesIn(db)) : [];
  }

  /** A few messages of some stream that was begun. */
  goOn(random: Random, crash: (node: SimulatedNode) => void): void {
    if (this.sessions.length === 0) return;
    const session = random.pick(this.sessions);
    const { from, to } = session;
    if (this.groups[from.index] !== this.groups[to.index]) return;
    const done = this.history.alive([to, from], () => {
      crash(random.below(2) === 0 ? to : from);
      for (let messages = 1 + random.below(3); messages > 0; messages--) if (!this.advance(session)) break;
    });
    // A receiver that could not take a message ends the stream.
    if (done && !session.over) return;
    this.keep(session.wire);
    this.sessions = this.sessions.filter((one) => one !== session);
  }

  /** Messages that were on the wire when a stream ended: they may come yet. */
  private keep(wire: readonly Uint8Array[]): void {
    this.old.push(...wire);
    this.old = this.old.slice(-MOST_OLD_MESSAGES);
  }

  /** A message of a stream that ended comes after all. */
  replay(node: SimulatedNode, random: Random): void {
    const message = this.old.length > 0 ? random.pick(this.old) : undefined;
    const from = this.history.nodes.find((one) => one !== node);
    if (!message || !from) return;
    this.history.alive([node, from], () => {
      const session = new Session({ from, to: node, weather: CALM, batchSize: 0, random });
      session.intact = false;
      const delivery = session.receive(message);
      if (delivery?.verified === false) delivery.verified = null;
      this.note(session, delivery);
    });
  }

  /** A whole session over a good line; true when it moved something. */
  calm(to: SimulatedNode, from: SimulatedNode): boolean {
    let moved = false;
    const { mended } = this.history.counts;
    const done = this.history.alive([to, from], () => {
      const session = new Session({ from, to, weather: CALM, batchSize: 0, random: seededRandom(1) });
      for (let messages = 0; !session.over; messages++) {
        if (messages > MOST_MESSAGES) throw new Error(`the stream ${to.name} <- ${from.name} does not end`);
        session.serve();
        const delivery = session.deliver();
        this.note(session, delivery);
        if (delivery && (delivery.received > 0 || delivery.moved)) moved = true;
      }
    });
    // One that serves no one yet will, once it has pulled.
    return moved || !done || this.history.counts.mended > mended;
  }
}
