import { act, notify } from "../act.ts";
import { api, Resource } from "../api.ts";
import { ago, count, counted, duration, sentence } from "../format.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { live } from "../live.ts";
import type { Job, JobCounts } from "../model.ts";
import { card, chip, emptyState, loaded, progress, type Tone } from "../parts/blocks.ts";
import { button } from "../parts/button.ts";
import { ask, consequences } from "../parts/dialog.ts";
import { pauseButton } from "../parts/fleet-actions.ts";
import { icon, type IconName } from "../parts/icons.ts";
import { sessionText } from "../parts/node-state.ts";
import { table } from "../parts/table.ts";

export const jobsResource = new Resource<{ jobs: Job[]; counts: JobCounts; timestamp: string }>();

const LOOKS: Readonly<Record<string, readonly [Tone, IconName, string]>> = {
  active: ["busy", "sync", "Running"],
  waiting: ["idle", "wait", "Waiting"],
  prioritized: ["idle", "wait", "Waiting"],
  paused: ["idle", "pause", "Held by the pause"],
  delayed: ["warn", "clock", "Waits for its next try"],
  failed: ["bad", "off", "Gave up"],
  completed: ["ok", "check", "Done"],
};

/** It came to its end and did nothing for the node. */
const MOOT: ReadonlySet<string> = new Set(["unreachable", "disabled", "lost"]);
const MOOT_LOOK = ["idle", "off", "Did not run"] as const;

const NAMES: Readonly<Record<string, string>> = {
  "catch-up": "Catch-up",
  scan: "Scan",
  verify: "Verify",
  canary: "Canary",
  cleanup: "Cleanup",
  alert: "Alert",
};

const STATES = [
  ["", "All"],
  ["active", "Running"],
  ["waiting", "Waiting"],
  ["delayed", "Retrying"],
  ["failed", "Gave up"],
  ["completed", "Done"],
] as const;

/** What the coordinator does now, what waits, and what it gave up. */
export function jobsPage(state: string): TemplateResult {
  jobsResource.show(`api/jobs?limit=200${state === "" ? "" : `&state=${encodeURIComponent(state)}`}`);
  const counts = live.fleet?.jobs ?? jobsResource.value?.counts;
  return html`<div class="page-head">
      <h1>Jobs</h1>
      ${live.fleet === null ? nothing : html`<div class="actions">${pauseButton(live.fleet)}</div>`}
    </div>
    <div class="stack">
      ${
        counts === undefined || counts.problem === ""
          ? nothing
          : html`<p class="problem" role="status">
              ${icon("warn")}<span
                ><strong>The queue cannot be reached.</strong> ${sentence(counts.problem)} Nothing is lost: jobs are made anew when it is
                back.</span
              >
            </p>`
      }
      ${
        counts?.paused === true
          ? html`<p class="problem mild" role="status">
              ${icon("pause")}<span><strong>Syncing is paused.</strong> Jobs are kept and none starts until somebody resumes it.</span>
            </p>`
          : nothing
      }
      <nav class="tabs" aria-label="State of jobs">
        ${STATES.map(([key, word]) => html`<button type="button" aria-pressed=${state === key} @click=${() => (location.hash = key === "" ? "#/jobs" : `#/jobs/${key}`)}>${word}${counts === undefined || key === "" ? nothing : html`<span class="num">${count(counts[key])}</span>`}</button>`)}
      </nav>
      ${card(
        "Jobs, newest first",
        loaded(jobsResource, ({ jobs }) => jobTable(jobs)),
        { flush: true },
      )}
    </div>`;
}

function jobTable(jobs: readonly Job[]): TemplateResult {
  return table({
    label: "Jobs",
    rows: jobs,
    key: ({ id }) => id,
    empty: emptyState("jobs", "No jobs here.", "A job appears when a node has to be caught up, at every scan, and when you press Sync."),
    columns: [
      {
        head: "Job",
        cell: (job) =>
          html`${job.server_id === null ? html`<strong>${nameOf(job)}</strong>` : html`<a href="#/nodes/${job.server_id}">${nameOf(job)} · ${job.server_name}</a>`}<span
              class="sub"
              >asked for ${ago(job.created_at)}</span
            >`,
      },
      { head: "State", phone: "wide", grow: true, cell: stateCell },
      { head: "Attempts", numeric: true, cell: (job) => `${count(job.attempts)} of ${count(job.max_attempts)}` },
      { head: "Took", numeric: true, cell: tookText },
      { head: "", phone: "wide", cell: (job) => html`<div class="row-actions">${jobActions(job)}</div>` },
    ],
  });
}

function stateCell(job: Job): TemplateResult {
  const isMoot = job.state === "completed" && MOOT.has(job.outcome);
  const [tone, shape, word] = isMoot ? MOOT_LOOK : (LOOKS[job.state] ?? ["idle", "wait", job.state]);
  const mark = chip(tone, shape, word, job.state === "active");
  if (job.state === "active") {
    const { progress: moved } = job;
    if (moved === null)
      return html`${mark}
        <div class="session-line">${progress(0, 0, "just begun")}</div>`;
    const amount = moved.total > 0 ? `${count(moved.done)} of ${count(moved.total)} changes` : counted(moved.done, "change");
    return html`${mark}
      <div class="session-line">
        <span class="small muted">${sessionText(moved)} · <span class="num">${amount}</span></span
        >${progress(moved.done, moved.total, amount)}
      </div>`;
  }
  const text = job.reason !== "" ? sentence(job.reason) : outcomeText(job.outcome);
  return html`${mark}${job.next_try_at === null || job.state !== "delayed" ? nothing : html` <span class="muted small">${ago(job.next_try_at)}</span>`}${text === "" ? nothing : html`<span class="sub wrap">${text}</span>`}`;
}

function outcomeText(outcome: string): string {
  const words: Record<string, string> = {
    synced: "brought up to date",
    "nothing-missing": "nothing was missing any more",
    disabled: "the node is paused",
    unreachable: "the node did not answer",
    lost: "another worker took over",
  };
  return words[outcome] ?? outcome;
}

function tookText(job: Job): string {
  if (job.started_at === null || job.finished_at === null) return "–";
  return duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1_000);
}

function jobActions(job: Job): unknown {
  const path = `api/jobs/${encodeURIComponent(job.id)}`;
  const what = `${nameOf(job)} of ${job.server_name || "the fleet"}`;
  if (job.state === "failed" || job.state === "delayed") {
    const retry = () =>
      void act(
        `job ${job.id}`,
        () => api("POST", `${path}/retry`),
        () => `${what} is tried again.`,
      ).then(() => jobsResource.refresh());
    return button({
      label: job.state === "failed" ? "Retry" : "Try now",
      name: `${job.state === "failed" ? "Retry" : "Try now"}: ${what}`,
      icon: "retry",
      small: true,
      action: `job ${job.id}`,
      run: retry,
    });
  }
  if (job.state === "completed") return nothing;
  const cancel = () =>
    ask({
      title: `Cancel this job?`,
      body: () =>
        html`<p>${what}</p>
          ${consequences(
            job.state === "active"
              ? "The session is broken off. What was committed stays, and a later one goes on from there."
              : "It does not start.",
            "A node that still misses something gets a new job at the next scan.",
          )}`,
      confirm: "Cancel the job",
      danger: true,
      async run() {
        await api("POST", `${path}/cancel`);
        notify("ok", `${what} was cancelled.`);
        void jobsResource.refresh();
      },
    });
  return button({ label: "Cancel", name: `Cancel ${what}`, icon: "close", small: true, look: "quiet", run: cancel });
}

function nameOf(job: Job): string {
  return NAMES[job.name] ?? job.name;
}
