import { bytes } from "../format.ts";
import { html, type TemplateResult } from "../lit.ts";
import type { CellValue } from "../model.ts";

/** A value of a database, so that NULL, numbers, text and blobs cannot be taken for one another. */
export function cellValue(value: CellValue | undefined, other?: CellValue): TemplateResult {
  if (value === null || value === undefined) return html`<span class="value-kind">NULL</span>`;
  if (typeof value === "number") return html`<span class="mono num">${value}</span>`;
  if (typeof value === "string") {
    if (value === "") return html`<span class="value-kind">empty text</span>`;
    return typeof other === "string"
      ? html`<span class="value-text">${marked(value, other)}</span>`
      : html`<span class="value-text">${value}</span>`;
  }
  if ("integer" in value) return html`<span class="mono num">${value.integer}</span>`;
  if ("real" in value) return html`<span class="mono">${value.real}</span>`;
  const size = Math.floor(((("blob" in value ? value.blob : value.raw_text).length || 0) * 3) / 4);
  return html`<span class="value-kind">${"blob" in value ? "blob" : "text that is not UTF-8"}, ${bytes(size)}</span>`;
}

/** A value as text to begin an edit with. */
export function editable(value: CellValue | undefined): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "object") return "integer" in value ? value.integer : "real" in value ? value.real : "";
  return String(value);
}

/** What was typed, of the kind that the old value had: a number stays a number when it reads as one. */
export function typedLike(text: string, old: CellValue | undefined): CellValue {
  const numeric = typeof old === "number" || (typeof old === "object" && old !== null && "integer" in old);
  if (!numeric) return text;
  if (/^-?\d+$/.test(text)) return Number.isSafeInteger(Number(text)) ? Number(text) : { integer: text };
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** What a person sees as one character may be several code points; it is never cut in the middle. */
const CHARACTERS = new Intl.Segmenter("en", { granularity: "grapheme" });
/** Longer texts are shown without marks: comparing them would take longer than reading. */
const LONGEST_MARKED = 20_000;

/** The part that differs, marked: what both begin and end with is the same. */
function marked(text: string, other: string): TemplateResult {
  if (text.length + other.length > LONGEST_MARKED) return html`${text}`;
  const [a, b] = [charactersOf(text), charactersOf(other)];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const middle = a.slice(start, a.length - end).join("");
  if (middle === "" || start + end === 0) return html`${text}`;
  return html`${a.slice(0, start).join("")}<mark>${middle}</mark>${a.slice(a.length - end).join("")}`;
}

function charactersOf(text: string): string[] {
  return Array.from(CHARACTERS.segment(text), ({ segment }) => segment);
}
