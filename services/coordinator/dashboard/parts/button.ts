import { isRunning } from "../act.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { icon, type IconName } from "./icons.ts";

interface Button {
  label: string;
  run: () => void;
  icon?: IconName;
  /** "main" for the one thing to do here, "danger" for what takes something away. */
  look?: "main" | "danger" | "quiet";
  /** Name of the action it starts: while that runs the button waits. */
  action?: string;
  disabled?: boolean;
  /** What a screen reader says where the label alone is ambiguous. */
  name?: string;
  small?: boolean;
}

export function button({ label, run, icon: shape, look, action, disabled = false, name, small = false }: Button): TemplateResult {
  const waits = action !== undefined && isRunning(action);
  return html`<button
    type="button"
    class="button ${look ?? ""} ${small ? "small" : ""}"
    aria-label=${name ?? nothing}
    aria-busy=${waits ? "true" : nothing}
    ?disabled=${disabled || waits}
    @click=${run}
  >
    ${waits ? html`<span class="spin">${icon("sync", 16)}</span>` : shape === undefined ? nothing : icon(shape, 16)}<span>${label}</span>
  </button>`;
}
