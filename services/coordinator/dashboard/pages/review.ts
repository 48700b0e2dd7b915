import { Resource } from "../api.ts";
import { count } from "../format.ts";
import { html, nothing, repeat, type TemplateResult } from "../lit.ts";
import { live } from "../live.ts";
import type { ReviewKind, ReviewList } from "../model.ts";
import { card, emptyState, loaded } from "../parts/blocks.ts";
import { button } from "../parts/button.ts";
import { icon } from "../parts/icons.ts";
import { kindWord, reviewEntry } from "../parts/review-entry.ts";
import { redraw } from "../redraw.ts";

export const reviewResource = new Resource<ReviewList>();

const KINDS: readonly ReviewKind[] = ["conflict", "parked", "quarantine", "file", "schema", "identity"];
const ENTRIES_AT_ONCE = 20;
const filter: { kind: ReviewKind | ""; shown: number } = { kind: "", shown: ENTRIES_AT_ONCE };

/** Everything that may want a person, of all nodes, in one list. */
export function reviewPage(node: string): TemplateResult {
  reviewResource.show(`api/review?resolved=false${node === "" ? "" : `&node=${encodeURIComponent(node)}`}`);
  const name = live.fleet?.nodes.find(({ id }) => String(id) === node)?.name;
  return html`<div class="page-head">
      <h1>Review</h1>
      <p>
        Nothing here is lost and nothing is urgent by itself: both versions are kept until somebody decides. A decision is an ordinary write
        that every node gets.
      </p>
    </div>
    ${node === "" ? nothing : html`<p class="note">Only entries of <strong>${name ?? `node ${node}`}</strong>. <a href="#/review">Show all nodes</a></p>`}
    ${loaded(reviewResource, list)}`;
}

function list({ reviews, unreachable }: ReviewList): TemplateResult {
  const found = reviews.filter(({ kind }) => filter.kind === "" || kind === filter.kind);
  const more = found.length - filter.shown;
  return html`<div class="stack">
    ${unreachable.length === 0 ? nothing : html`<p class="problem mild" role="status">${icon("warn")}<span>${unreachable.map(({ name }) => name).join(", ")} could not be asked: what waits only there is missing from this list.</span></p>`}
    <div class="tabs" role="group" aria-label="Kind">
      ${tab("", "All", reviews.length)}${KINDS.map((kind) => tab(kind, kindWord(kind).many, reviews.filter((one) => one.kind === kind).length))}
    </div>
    ${
      found.length === 0
        ? card(
            "Entries",
            emptyState(
              "check",
              filter.kind === "" ? "Nothing waits for a decision." : `No ${kindWord(filter.kind).many.toLowerCase()}.`,
              "Conflicts, rows that a constraint keeps out, mass deletes kept back, file versions and held schema would be listed here.",
            ),
          )
        : repeat(
            found.slice(0, filter.shown),
            (review) => `${review.node.id} ${review.id}`,
            (review) => reviewEntry(review, () => void reviewResource.refresh()),
          )
    }
    ${more > 0 ? html`<div class="more">${button({ label: `Show more (${count(more)} left)`, run: () => choose({ shown: filter.shown + ENTRIES_AT_ONCE }) })}</div>` : nothing}
  </div>`;
}

function tab(kind: ReviewKind | "", word: string, number: number): TemplateResult {
  return html`<button type="button" aria-pressed=${filter.kind === kind} @click=${() => choose({ kind, shown: ENTRIES_AT_ONCE })}>
    ${word}<span class="num">${count(number)}</span>
  </button>`;
}

function choose(change: Partial<typeof filter>): void {
  Object.assign(filter, change);
  redraw();
}
