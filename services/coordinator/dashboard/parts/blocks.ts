import type { Problem, Resource } from "../api.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { button } from "./button.ts";
import { icon, type IconName } from "./icons.ts";

export type Tone = "ok" | "warn" | "bad" | "busy" | "idle";

/** A word with a colour and an icon: none of the three is needed to understand the other two. */
export function chip(tone: Tone, shape: IconName, word: string, spin = false): TemplateResult {
  return html`<span class="chip ground-${tone}"><span class=${spin ? "spin" : ""}>${icon(shape, 14)}</span>${word}</span>`;
}

export function card(
  title: string,
  content: unknown,
  { extra = nothing, className = "", flush = false }: { extra?: unknown; className?: string; flush?: boolean } = {},
): TemplateResult {
  return html`<section class="card ${className}" aria-label=${title}>
    <header class="card-head">
      <h2>${title}</h2>
      ${extra}
    </header>
    <div class="card-body ${flush ? "flush" : ""}">${content}</div>
  </section>`;
}

/** What stands where there is nothing to show: why, and what to do. */
export function emptyState(shape: IconName, title: string, hint: unknown, action: unknown = nothing): TemplateResult {
  return html`<div class="empty">
    <span class="empty-icon">${icon(shape, 26)}</span>
    <p><strong>${title}</strong></p>
    <p class="muted">${hint}</p>
    ${action}
  </div>`;
}

/** What a resource holds, or that it loads, or why it does not. */
export function loaded<T>(resource: Resource<T>, show: (value: T) => unknown): unknown {
  const { value, problem } = resource;
  if (value === null && problem !== null) return problemBlock(problem, () => void resource.refresh());
  if (value === null) return html`<div class="loading" role="status">Loading…</div>`;
  return html`${problem === null ? nothing : html`<p class="problem" role="status">${icon("warn")}<span>What is shown may be old: ${problem.message}</span></p>`}${show(value)}`;
}

export function problemBlock(problem: Problem, again: () => void): TemplateResult {
  return emptyState("warn", problem.message, problem.action, button({ label: "Try again", icon: "retry", run: again }));
}

/** A share of something as a bar with words for those who do not see it. */
export function meter(share: number, tone: Tone, label: string): TemplateResult {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return html`<svg class="meter tone-${tone}" role="img" aria-label=${label} viewBox="0 0 100 6" preserveAspectRatio="none">
    <rect class="meter-ground" width="100" height="6"></rect>
    <rect width=${width} height="6" fill="currentColor"></rect>
  </svg>`;
}

/** How far something is; without a total it only says that it moves. */
export function progress(done: number, total: number, label: string): TemplateResult {
  return total > 0
    ? html`<progress class="progress" max=${total} value=${Math.min(done, total)} aria-label=${label}></progress>`
    : html`<progress class="progress" aria-label=${label}></progress>`;
}

/** A list of names and values. */
export function facts(entries: readonly (readonly [string, unknown])[]): TemplateResult {
  return html`<dl class="facts">
    ${entries.map(
      ([name, value]) =>
        html`<div>
          <dt>${name}</dt>
          <dd>${value}</dd>
        </div>`,
    )}
  </dl>`;
}
