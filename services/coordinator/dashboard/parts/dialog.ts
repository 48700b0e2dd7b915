import { Problem } from "../api.ts";
import { html, nothing, ref, type TemplateResult } from "../lit.ts";
import { redraw } from "../redraw.ts";
import { icon } from "./icons.ts";

/** A question that must be answered before something happens. */
export interface Question {
  title: string;
  /** What will happen, in full sentences; fields to fill in. */
  body: () => TemplateResult;
  /** The word on the button that does it. */
  confirm: string;
  danger?: boolean;
  /** Does it. The dialog stays open with the reason when this throws. */
  run: (form: FormData) => Promise<void>;
}

let open: Question | null = null;
let problem: Problem | null = null;
let works = false;

/** Asks; nothing happens until the person says so. */
export function ask(question: Question): void {
  open = question;
  problem = null;
  works = false;
  redraw();
}

/** What a field of the form holds, as text; empty when there is none. */
export function typed(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === "string" ? value : "";
}

/** A paragraph list of what an action will do. */
export function consequences(...lines: (string | TemplateResult)[]): TemplateResult {
  return html`<ul class="consequences">
    ${lines.map((line) => html`<li>${line}</li>`)}
  </ul>`;
}

function close(): void {
  open = null;
  redraw();
}

async function confirm(event: SubmitEvent): Promise<void> {
  event.preventDefault();
  if (open === null || works) return;
  const asked = open;
  works = true;
  problem = null;
  redraw();
  try {
    await asked.run(new FormData(event.target as HTMLFormElement));
    if (open === asked) open = null;
  } catch (error) {
    problem = error instanceof Problem ? error : new Problem(String(error), "", 0);
  } finally {
    works = false;
    redraw();
  }
}

let shown: HTMLDialogElement | null = null;
/** Opens the element as soon as it is in the page; the browser keeps focus inside and gives it back afterwards. */
const attach = ref((element) => {
  const box = (element as HTMLDialogElement | undefined) ?? null;
  if (box === null) shown?.close();
  shown = box;
  if (box !== null && !box.open) queueMicrotask(() => box.isConnected && !box.open && box.showModal());
});

/** The dialog of the page; empty while nothing is asked. */
export function dialog(): TemplateResult | typeof nothing {
  if (open === null) return nothing;
  const { title, body, confirm: word, danger = false } = open;
  return html`<dialog class="dialog" aria-labelledby="dialog-title" @cancel=${close} @click=${closeOutside} ${attach}>
    <form method="dialog" @submit=${confirm}>
      <header>
        <h2 id="dialog-title">${title}</h2>
        <button type="button" class="button quiet only-icon" aria-label="Close" @click=${close}>${icon("close")}</button>
      </header>
      <div class="dialog-body">
        ${body()}
        ${
          problem === null
            ? nothing
            : html`<p class="problem" role="alert">
                ${icon("warn")}<span><strong>${problem.message}</strong> ${problem.action}</span>
              </p>`
        }
      </div>
      <footer>
        <button type="button" class="button" @click=${close}>Cancel</button>
        <button type="submit" class="button ${danger ? "danger" : "main"}" ?disabled=${works}>
          ${works ? html`<span class="spin">${icon("sync", 16)}</span>` : nothing}<span>${word}</span>
        </button>
      </footer>
    </form>
  </dialog>`;
}

function closeOutside(event: MouseEvent): void {
  if (event.target === event.currentTarget) close();
}
