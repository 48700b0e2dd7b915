import { act, notify } from "../act.ts";
import { api } from "../api.ts";
import { counted } from "../format.ts";
import { html, type TemplateResult } from "../lit.ts";
import type { Fleet } from "../model.ts";
import { button } from "./button.ts";
import { ask, consequences } from "./dialog.ts";
import { addNode } from "./node-actions.ts";

/** What can be done to the fleet as a whole. */
export function fleetActions(fleet: Fleet): TemplateResult {
  return html`${button({ label: "Add node", icon: "plus", run: addNode })}${pauseButton(fleet)}${button({
    label: "Sync all",
    icon: "sync",
    look: "main",
    action: "sync all",
    run: syncAll,
  })}`;
}

export function pauseButton({ jobs }: Fleet): TemplateResult {
  return jobs.paused
    ? button({ label: "Resume syncing", icon: "play", action: "pause", run: resumeAll })
    : button({ label: "Pause all", icon: "pause", disabled: jobs.problem !== "", run: pauseAll });
}

interface ScanAnswer {
  servers_processed: number;
  results: { server_name: string; success: boolean; errors: string[] }[];
}

function syncAll(): void {
  void act(
    "sync all",
    () => api<ScanAnswer>("POST", "api/sync-all"),
    ({ servers_processed, results }) => {
      const failed = results.filter(({ success }) => !success);
      if (failed.length > 0) {
        const names = failed.map(({ server_name }) => server_name).join(", ");
        return {
          tone: "bad",
          text: `${counted(failed.length, "node")} could not be brought up to date: ${names}.`,
          hint: failed[0]?.errors[0] ?? "",
        };
      }
      return servers_processed === 0
        ? "Everyone was asked; nobody who answers misses anything."
        : `${counted(servers_processed, "node")} brought up to date.`;
    },
  );
}

function pauseAll(): void {
  ask({
    title: "Pause syncing for the whole fleet?",
    body: () =>
      consequences(
        "No catch-up starts until somebody resumes; sessions that run go on to their end.",
        "Nodes keep what is written on them, and fall behind each other.",
        "Nodes that sync live with --peer go on doing so.",
      ),
    confirm: "Pause all",
    danger: true,
    async run() {
      await api("POST", "api/jobs/pause");
      notify("ok", "Syncing is paused.");
    },
  });
}

function resumeAll(): void {
  void act(
    "pause",
    () => api("POST", "api/jobs/resume"),
    () => "Syncing goes on.",
  );
}
