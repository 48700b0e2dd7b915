import { dismiss, notices } from "../act.ts";
import { html, repeat, type TemplateResult } from "../lit.ts";
import { icon } from "./icons.ts";

/** What was done a moment ago, in a corner and read aloud. */
export function noticeList(): TemplateResult {
  return html`<div class="notices" role="status" aria-live="polite">
    ${repeat(
      notices.shown,
      (notice) => notice.id,
      ({ id, tone, text, hint }) =>
        html`<div class="notice">
          <span class="tone-${tone}">${icon(tone === "ok" ? "check" : "warn")}</span>
          <p><strong>${text}</strong>${hint === "" ? "" : html`<br /><span class="muted">${hint}</span>`}</p>
          <button type="button" class="button quiet only-icon" aria-label="Dismiss" @click=${() => dismiss(id)}>
            ${icon("close", 16)}
          </button>
        </div>`,
    )}
  </div>`;
}
