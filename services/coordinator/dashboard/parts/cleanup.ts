import { act, notify } from "../act.ts";
import { api } from "../api.ts";
import { count, moment } from "../format.ts";
import { html, nothing } from "../lit.ts";
import { ask } from "./dialog.ts";

interface CleanupAnswer {
  removed: { what: string; count: number; older_than: string | null }[];
  kept: { what: string; count: number; reason: string }[];
}

/** Shows what a cleanup would remove, and removes it when the person agrees. */
export function cleanup(): void {
  void act(
    "cleanup",
    () => api<CleanupAnswer>("POST", "api/cleanup", { dry_run: true }),
    (plan) => {
      const total = plan.removed.reduce((sum, { count: number }) => sum + number, 0);
      if (total === 0) return "There is nothing to remove.";
      ask({
        title: "Remove old history?",
        body: () =>
          html`<ul class="consequences">
              ${plan.removed.filter((one) => one.count > 0).map((one) => html`<li><strong>${count(one.count)} ${one.what}</strong>${one.older_than === null ? nothing : html` from before ${moment(one.older_than)}`}</li>`)}
            </ul>
            ${
              plan.kept.length === 0
                ? nothing
                : html`<h3 class="list-title">Stays</h3>
                    <ul class="consequences">
                      ${plan.kept.map((one) => html`<li>${count(one.count)} ${one.what}: ${one.reason}</li>`)}
                    </ul>`
            }
            <p class="muted">Rows of your databases are not touched. What is removed here cannot be brought back.</p>`,
        confirm: "Remove",
        danger: true,
        async run() {
          const { removed } = await api<CleanupAnswer>("POST", "api/cleanup", { dry_run: false });
          notify("ok", `Removed: ${removed.map((one) => `${count(one.count)} ${one.what}`).join(", ") || "nothing"}.`);
        },
      });
      return "";
    },
  );
}
