import { act, notify } from "../act.ts";
import { api } from "../api.ts";
import { ago, counted, sentence } from "../format.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { live } from "../live.ts";
import type { CellValue, Review, ReviewKind, ReviewVersion } from "../model.ts";
import { chip } from "./blocks.ts";
import { button } from "./button.ts";
import { cellValue, editable, typedLike } from "./cell-value.ts";
import { ask, consequences, typed } from "./dialog.ts";
import type { IconName } from "./icons.ts";

/** About files that were deleted at once, or a folder that is not there, and not about versions of one file. */
const isWholeRoot = ({ kind, key }: Review) => kind === "file" && key === "";
/** About a deleted row that is in its table as others refer to it, and not about two values. */
const isKeptRow = ({ kind, column }: Review) => kind === "conflict" && column === undefined;

const KINDS: Readonly<Record<ReviewKind, { one: string; many: string; icon: IconName }>> = {
  conflict: { one: "Conflict", many: "Conflicts", icon: "review" },
  parked: { one: "Parked row", many: "Parked rows", icon: "wait" },
  quarantine: { one: "Mass delete kept back", many: "Mass deletes", icon: "shield" },
  file: { one: "File conflict", many: "Files", icon: "file" },
  identity: { one: "Which row is meant", many: "Which row", icon: "review" },
  schema: { one: "Held for a missing table or column", many: "Waiting for a table", icon: "schema" },
};

export function kindWord(kind: ReviewKind): { one: string; many: string; icon: IconName } {
  return KINDS[kind] ?? { one: kind, many: kind, icon: "review" };
}

/** One entry: what happened, both versions side by side or the row that waits, and what can be decided. */
export function reviewEntry(review: Review, decided: () => void): TemplateResult {
  const { one, icon } = isWholeRoot(review) ? { one: "Files are missing", icon: "file" as const } : kindWord(review.kind);
  const place = [review.database, review.table].filter((part) => part !== "").join(" · ");
  return html`<article class="card review" aria-label="${one} in ${place} ${review.key}">
    <header class="review-head">
      ${chip(review.kind === "schema" ? "idle" : "warn", icon, one)}
      <h2 class="wrap">
        ${place}${review.key === "" ? nothing : html` <span class="mono">${review.key}</span>`}${review.column === undefined ? nothing : html` <span class="muted">column</span> ${review.column}`}
      </h2>
      <p class="muted small">${nodesText(review)} · ${ago(review.since)}</p>
    </header>
    <div class="review-body">
      ${review.reason === "" ? nothing : html`<p class="review-reason wrap">${asTold(plainReason(review))}</p>`}
      ${!isKeptRow(review) && (review.winner !== undefined || review.loser !== undefined) ? versions(review, decided) : nothing}
      ${review.image === undefined ? nothing : image(review)} ${otherDecisions(review, decided)}
    </div>
  </article>`;
}

/** The list speaks to people who click: the command line's words for the same decisions are left out. */
function plainReason({ reason }: Review): string {
  return reason
    .replace(/\s*--undo puts.*$/s, "")
    .replace(/\s*\(--release, or --undo[^)]*\)/, "")
    .replace(/\s*\(here: review resolve [^)]*\)/, "")
    .replace(/; --keep winner once this has been seen$/, "")
    .replace(/\. --keep winner if .*$/s, "")
    .replace("--keep winner has it live on; to have", "To have")
    .replace(/; --keep winner leaves the row as it is, --set COLUMN=VALUE writes .*$/, "")
    .replace(/: review resolve with --set \S+/, "");
}

/** As a sentence; a name that it begins with stays as it is written. */
function asTold(reason: string): string {
  return /^\S+: /.test(reason) ? `${reason.replace(/[.]$/, "")}.` : sentence(reason);
}

function nodesText({ node, also_on }: Review): string {
  const others = also_on.filter((id) => id !== node.id);
  const names = new Map((live.fleet?.nodes ?? []).map(({ id, name }) => [id, name]));
  if (others.length === 0) return `on ${node.name}`;
  if (others.length > 3) return `on ${node.name} and ${counted(others.length, "other node")}`;
  return `on ${[node.name, ...others.map((id) => names.get(id) ?? `node ${id}`)].join(", ")}`;
}

function versions(review: Review, decided: () => void): TemplateResult {
  const { winner, loser } = review;
  return html`<div class="versions">
    ${version(review, "winner", "In the table now", winner, loser, decided)}
    ${version(review, "loser", "Kept aside", loser, winner, decided)}
  </div>`;
}

function version(
  review: Review,
  side: "winner" | "loser",
  title: string,
  one: ReviewVersion | undefined,
  other: ReviewVersion | undefined,
  decided: () => void,
): TemplateResult {
  const may = review.decisions.includes(side);
  return html`<section class="version ${side}" aria-label=${title}>
    <h3>${title}</h3>
    <div class="version-value">${one === undefined ? html`<span class="muted">nothing</span>` : cellValue(one.value, other?.value)}</div>
    <p class="muted small">${one === undefined ? nothing : html`written on <strong>${one.origin}</strong> ${ago(one.time)}`}</p>
    ${may ? button({ label: side === "winner" ? "Keep this" : "Use this instead", icon: side === "winner" ? "check" : "retry", action: `review ${review.id}`, run: () => decide(review, { keep: side }, side === "winner" ? "Kept as it is; the entry is closed everywhere." : "The other version is in the table now and travels to every node.", decided) }) : nothing}
  </section>`;
}

function image({ image: columns }: Review): TemplateResult {
  return html`<dl class="row-image">
    ${Object.entries(columns ?? {}).map(
      ([name, value]) =>
        html`<div>
          <dt>${name}</dt>
          <dd>${cellValue(value)}</dd>
        </div>`,
    )}
  </dl>`;
}

function otherDecisions(review: Review, decided: () => void): TemplateResult | typeof nothing {
  const { decisions } = review;
  const buttons = [
    isKeptRow(review) && decisions.includes("winner")
      ? button({
          label: "Let it live on",
          icon: "check",
          look: "main",
          action: `review ${review.id}`,
          run: () => decide(review, { keep: "winner" }, "The row lives on, on every node.", decided),
        })
      : nothing,
    decisions.includes("set")
      ? button({
          label: review.column === undefined ? "Change the row…" : "Write another value…",
          icon: "plus",
          action: `review ${review.id}`,
          run: () => change(review, decided),
        })
      : nothing,
    decisions.includes("undo")
      ? button({
          label: isWholeRoot(review) ? "Fetch the files again" : "Put the rows back",
          icon: "retry",
          look: "main",
          action: `review ${review.id}`,
          run: () =>
            decide(
              review,
              { decision: "undo" },
              isWholeRoot(review) ? "The files are fetched again from the other nodes." : "The rows are back in the table.",
              decided,
            ),
        })
      : nothing,
    decisions.includes("release")
      ? button({
          label: review.kind === "quarantine" || review.decisions.includes("undo") ? "Delete everywhere…" : "It is meant to be so…",
          icon: "trash",
          look: "danger",
          run: () => release(review, decided),
        })
      : nothing,
  ].filter((one) => one !== nothing);
  if (buttons.length === 0)
    return review.kind === "schema"
      ? html`<p class="muted small">
          Nothing has to be decided: the values are put in when the migration of the application has run there.
        </p>`
      : nothing;
  return html`<div class="review-actions">${buttons}</div>`;
}

function path({ node, id }: Review): string {
  return `api/review/${node.id}/${encodeURIComponent(id)}`;
}

function decide(review: Review, body: object, said: string, decided: () => void): void {
  void act(
    `review ${review.id}`,
    () => api("POST", path(review), body),
    () => said,
  ).then(decided);
}

function release(review: Review, decided: () => void): void {
  const ofFiles = isWholeRoot(review);
  const deletes = review.kind === "quarantine" || review.decisions.includes("undo");
  const what = ofFiles ? "files" : "rows";
  const kept = ofFiles
    ? "Every other node keeps what it deletes in the store of its root, from which it can be restored."
    : "Each row keeps an image from which it can be restored, one by one.";
  ask({
    title: deletes ? `Delete these ${what} on every node?` : "Is the folder meant to be as it is now?",
    body: () =>
      html`<p class="wrap">${sentence(plainReason(review))}</p>
        ${deletes ? consequences(`The delete goes on: every other node removes these ${what}, too.`, kept) : consequences("The folder takes part again as it is now: what is not in it counts as deleted on this node.", "Where that is much, the other nodes keep theirs until somebody has decided that, too.")}`,
    confirm: deletes ? "Delete everywhere" : "Yes, go on",
    danger: true,
    async run() {
      await api("POST", path(review), { decision: "release" });
      notify("ok", deletes ? `The ${what} are deleted everywhere.` : "The folder takes part again.");
      decided();
    },
  });
}

function change(review: Review, decided: () => void): void {
  // Of a value whose column the table has not any more nobody knows yet which one is to have it.
  const isOfRow = review.column === undefined || review.winner === undefined;
  const columns: [string, CellValue | undefined][] = isOfRow
    ? Object.entries(review.image ?? {})
    : [[review.column ?? "", review.winner?.value]];
  ask({
    title: isOfRow ? `Change the row of ${review.table}` : `Write another value for ${review.column}`,
    body: () =>
      html`<p class="muted">
          ${review.kind === "parked" ? "Change what keeps it out of its table; it goes in as soon as nothing is in its way." : "It replaces both versions, on every node."}
        </p>
        ${columns.map(([name, value]) => field(name, value))}`,
    confirm: "Write",
    async run(form) {
      const set = Object.fromEntries(
        columns
          .filter(([name, value]) => form.has(name) && (!isOfRow || typed(form, name) !== editable(value)))
          .map(([name, value]) => [name, typedLike(typed(form, name), value)]),
      );
      await api("POST", path(review), { set });
      notify(
        "ok",
        review.kind === "parked"
          ? "Written; the row goes into its table when nothing is in its way."
          : "Written; it travels to every node.",
      );
      decided();
    },
  });
}

function field(name: string, value: CellValue | undefined): TemplateResult {
  const binary = typeof value === "object" && value !== null && ("blob" in value || "raw_text" in value);
  if (binary) return html`<div class="field"><span>${name}</span>${cellValue(value)}</div>`;
  const text = editable(value);
  return html`<label class="field"
    ><span>${name}</span
    >${text.length > 60 || text.includes("\n") ? html`<textarea class="input" name=${name} .defaultValue=${text}></textarea>` : html`<input class="input" name=${name} .defaultValue=${text} autocomplete="off" />`}</label
  >`;
}
