import { ago, count, counted, duration, sentence } from "../format.ts";
import { html, repeat, type TemplateResult } from "../lit.ts";
import type { Fleet, Node, NodeState } from "../model.ts";
import { emptyState, type Tone } from "./blocks.ts";
import { icon, type IconName } from "./icons.ts";
import { adviceLine, briefError, byNeed, lookOf, missingText, reviewCounts, sessionLine } from "./node-state.ts";

interface Concern {
  key: string;
  tone: Tone;
  icon: IconName;
  title: string;
  text: unknown;
  link: string;
}

/** The longest list; what does not fit is in the table below. */
const MOST_SHOWN = 12;
/** So many nodes of one state are named. */
const MOST_OF_A_STATE = 4;
/** Clocks further off than this are an alarm, milliseconds. */
const CLOCK_ALARM_MS = 5_000;
/** Alerts of these kinds are about what nodes say themselves. */
const SAID: ReadonlySet<string> = new Set(["silent", "lag", "clock", "parked", "redis", "diverged", "problem", "quarantine"]);
const ALERT_TITLES: Readonly<Record<string, (name: string) => string>> = {
  failing: (name) => `Sessions of ${name} keep failing`,
  disk: (name) => `A disk of ${name} is almost full`,
  canary: (name) => `Writes on ${name} went past capture`,
};

/** What an operator should know, worst first: which node misses what, why, and what happens next. */
export function attentionList(fleet: Fleet): TemplateResult {
  const concerns = [
    ...ofTheService(fleet),
    ...ofNodes(fleet.nodes),
    ...ofFiles(fleet),
    ...ofReview(fleet),
    ...ofJobs(fleet),
    ...ofAlerts(fleet),
  ];
  if (concerns.length === 0)
    return emptyState("check", "Nothing needs you.", "Every node is up to date, and nothing waits for a decision.");
  const more = concerns.length - MOST_SHOWN;
  return html`<ul class="concerns">
      ${repeat(
        concerns.slice(0, MOST_SHOWN),
        ({ key }) => key,
        (concern) =>
          html`<li>
            <a href=${concern.link}
              ><span class="tone-${concern.tone}">${icon(concern.icon, 20)}</span>
              <div>
                <p class="concern-title">${concern.title}</p>
                <div class="muted small">${concern.text}</div>
              </div>
              <span class="muted">${icon("right", 16)}</span></a
            >
          </li>`,
      )}
    </ul>
    ${more > 0 ? html`<p class="muted small more-note">and ${count(more)} more</p>` : ""}`;
}

function ofTheService({ jobs }: Fleet): Concern[] {
  const concerns: Concern[] = [];
  if (jobs.problem !== "") {
    concerns.push({
      key: "redis",
      tone: "bad",
      icon: "warn",
      title: "The job queue cannot be reached",
      text: `${sentence(jobs.problem)} Nothing is lost; catch-ups wait until it is back.`,
      link: "#/jobs",
    });
  }
  if (jobs.paused) {
    concerns.push({
      key: "paused",
      tone: "warn",
      icon: "pause",
      title: "Syncing is paused for the whole fleet",
      text: "No catch-up starts until somebody resumes it.",
      link: "#/jobs",
    });
  }
  return concerns;
}

/** Each of the worst by name, the others by number: of a thousand nodes a hundred may be away at once. */
function ofNodes(nodes: readonly Node[]): Concern[] {
  const told = new Map<NodeState, number>();
  const concerns = nodes.toSorted(byNeed).flatMap((node) => {
    const already = told.get(node.state) ?? 0;
    told.set(node.state, already + 1);
    return already < MOST_OF_A_STATE ? ofNode(node) : ofClock(node);
  });
  for (const [state, number] of told) {
    const more = number - MOST_OF_A_STATE;
    if (more <= 0 || state === "equal" || state === "paused") continue;
    const { tone, icon: shape, word } = lookOf(state);
    concerns.push({
      key: `more ${state}`,
      tone,
      icon: shape,
      title: `${counted(more, "more node is", "more nodes are")} ${word.toLowerCase()}`,
      text: "Show all of them in the table.",
      link: `#/state/${state}`,
    });
  }
  return concerns;
}

function ofNode(node: Node): Concern[] {
  const { tone, icon: shape } = lookOf(node.state);
  const link = `#/nodes/${node.id}`;
  const concerns: Concern[] = [];
  if (node.state === "offline") {
    concerns.push({
      key: `node ${node.id}`,
      tone,
      icon: shape,
      title: `${node.name} does not answer`,
      text: html`It ${missingText(node)}; last heard ${ago(node.last_seen)}.
      ${node.last_error === "" ? "" : html`<span class="wrap">${briefError(node.last_error)}</span> `}It is caught up as soon as it is back.
      ${adviceLine(node)}`,
      link,
    });
  } else if (node.state === "problem") {
    concerns.push({
      key: `node ${node.id}`,
      tone,
      icon: shape,
      title: `${node.name} has a problem`,
      text: html`${sentence(node.state_reason)} ${node.missing_changes === 0 ? "" : `It ${missingText(node)}. `}${adviceLine(node)}`,
      link: node.review_counts.parked > 0 ? `#/review/${node.id}` : link,
    });
  } else if (node.state === "behind" || node.state === "syncing") {
    const what = node.missing_changes === 0 ? "exchanges changes" : missingText(node);
    concerns.push({
      key: `node ${node.id}`,
      tone,
      icon: shape,
      title: `${node.name} ${what}`,
      text: node.session === null ? sentence(node.state_reason) || "A catch-up is due." : sessionLine(node),
      link,
    });
  }
  return [...concerns, ...ofClock(node)];
}

function ofClock(node: Node): Concern[] {
  if (!node.online || Math.abs(node.clock_offset_ms) <= CLOCK_ALARM_MS) return [];
  return [
    {
      key: `clock ${node.id}`,
      tone: "warn",
      icon: "clock",
      title: `The clock of ${node.name} is ${duration(Math.abs(node.clock_offset_ms) / 1_000)} ${node.clock_offset_ms > 0 ? "ahead" : "behind"}`,
      text: html`Of two edits of one field the later one wins, so the time matters. Until it is right, its edits are stamped by corrected
      time. ${adviceLine({ advice: "Set the clock of that machine, best by having it ask the network for the time." })}`,
      link: `#/nodes/${node.id}`,
    },
  ];
}

function ofReview({ nodes }: Fleet): Concern[] {
  const { conflict, parked, identity, file: all } = reviewCounts(nodes);
  // Files that are gone at once have a line of their own.
  const file = all - nodes.flatMap(({ files }) => files).filter(({ held_back }) => held_back).length;
  const parts = [
    conflict > 0 ? counted(conflict, "conflict") : "",
    parked > 0 ? counted(parked, "parked row") : "",
    file > 0 ? `${counted(file, "entry", "entries")} about files` : "",
    identity > 0 ? `${counted(identity, "row")} that may not be what somebody meant` : "",
  ].filter((part) => part !== "");
  const keptBack = nodes.filter(({ review_counts }) => review_counts.quarantine > 0).map(ofKeptBack);
  if (parts.length === 0) return [...keptBack, ...ofSchema(nodes)];
  return [
    ...keptBack,
    {
      key: "review",
      tone: "warn",
      icon: "review",
      title: `${parts.join(", ")} to review`,
      text: "Nothing is lost: both versions are kept until somebody decides.",
      link: "#/review",
    },
    ...ofSchema(nodes),
  ];
}

/** Servers are migrated one by one: those that come later hold what they have no place for yet. */
function ofSchema(nodes: readonly Node[]): Concern[] {
  const holding = nodes.filter(({ review_counts }) => review_counts.schema > 0);
  if (holding.length === 0) return [];
  const names = holding.slice(0, MOST_OF_A_STATE).map(({ name }) => name);
  const more = holding.length - names.length;
  const who = more > 0 ? `${names.join(", ")} and ${counted(more, "other node")}` : names.join(", ");
  return [
    {
      key: "schema",
      tone: "idle",
      icon: "schema",
      title: `${who} ${holding.length === 1 ? "has" : "have"} no table or column yet for some rows`,
      text: html`The values are kept there and passed on.
      ${adviceLine({ advice: "Run the migration of your application there, too; then they are put in by themselves." })}`,
      link: "#/review",
    },
  ];
}

/** It is behind nobody, and yet its table lacks rows that all others have. */
function ofKeptBack({ id, name, review_counts: { quarantine } }: Node): Concern {
  return {
    key: `kept back ${id}`,
    tone: "bad",
    icon: "shield",
    title: `${quarantine === 1 ? "A mass delete" : `${count(quarantine)} mass deletes`} on ${name} ${quarantine === 1 ? "is" : "are"} kept back`,
    text: html`Most rows of a table were deleted there at once. All other nodes still have them.
    ${adviceLine({ advice: "Say whether the rows should come back, or go everywhere." })}`,
    link: `#/review/${id}`,
  };
}

/** File roots where many files are gone, or that cannot take part. */
function ofFiles({ nodes }: Fleet): Concern[] {
  return nodes.flatMap(({ id, name, files, state }) =>
    files
      // What a node has a problem with is told with the node.
      .filter(({ held_back, problem }) => held_back || (problem !== "" && state !== "problem"))
      .map(({ root, missing, held_back, problem }): Concern => ({
        key: `files ${id} ${root}`,
        tone: "bad",
        icon: "file",
        title: held_back
          ? `${missing === 0 ? "Many files" : counted(missing, "file")} of ${root} ${missing === 1 ? "is" : "are"} gone on ${name}`
          : `The files ${root} of ${name} take no part`,
        text: held_back
          ? html`So many at once that all other nodes keep theirs.
            ${adviceLine({ advice: "Say whether they should come back, or go everywhere." })}`
          : sentence(problem),
        link: held_back ? `#/review/${id}` : `#/nodes/${id}`,
      })),
  );
}

function ofJobs({ jobs }: Fleet): Concern[] {
  if (jobs.failed === 0) return [];
  return [
    {
      key: "jobs",
      tone: "warn",
      icon: "jobs",
      title: `${counted(jobs.failed, "job")} gave up after several attempts`,
      text: "Each says why, and can be tried again.",
      link: "#/jobs/failed",
    },
  ];
}

/** Alerts about what the lines above do not say already. */
function ofAlerts({ alerts, nodes }: Fleet): Concern[] {
  const failing = new Set(nodes.filter(({ state, failures }) => state !== "equal" && failures > 0).map(({ id }) => id));
  return alerts
    .filter(({ kind, recovered_at }) => recovered_at === null && !SAID.has(kind))
    .filter(({ kind, server_id }) => kind !== "failing" || server_id === null || !failing.has(server_id))
    .map(({ id, kind, server_id, server_name, message, since }) => ({
      key: `alert ${id}`,
      tone: "bad",
      icon: "warn",
      title: ALERT_TITLES[kind]?.(server_name) ?? `An alert of ${server_name || "the fleet"}: ${kind}`,
      text: html`<span class="wrap">${message}</span> Since ${ago(since)}.`,
      link: server_id === null ? "#/logs" : `#/nodes/${server_id}`,
    }));
}
