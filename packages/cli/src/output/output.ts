import type { Surroundings } from "../surroundings.ts";
import { progressBar } from "./bar.ts";
import { shown } from "./shown.ts";
import { cut, renderTable } from "./table.ts";

export type Cell = string | number | boolean | bigint | null | undefined;

/** A command's way to speak: one JSON document, or lines for people and tables on a terminal. */
export class Output {
  readonly json: boolean;
  /** A person watches: tables and progress bars make sense. */
  readonly terminal: boolean;
  readonly #surroundings: Surroundings;
  #progressShown = false;

  constructor(surroundings: Surroundings, json: boolean) {
    this.#surroundings = surroundings;
    this.json = json;
    this.terminal = !json && surroundings.stdout.isTTY === true;
  }

  /** Ends a command: the document with `--json`, otherwise what `people` prints. */
  result(document: unknown, people: () => void): void {
    this.#clearProgress();
    if (this.json) this.#surroundings.stdout.write(`${JSON.stringify(document)}\n`);
    else people();
  }

  line(text = ""): void {
    this.#clearProgress();
    this.#surroundings.stdout.write(`${text}\n`);
  }

  /** Writes a piece of a document that is too long to hold; resolves when the receiver keeps up. */
  async piece(text: string): Promise<void> {
    if (this.#surroundings.stdout.write(text)) return;
    await new Promise<void>((resolve) => this.#surroundings.stdout.once("drain", () => resolve()));
  }

  /** Remarks that are not the answer. */
  note(text: string): void {
    this.#clearProgress();
    this.#surroundings.stderr.write(`${text}\n`);
  }

  /** Aligned with a rule on a terminal, tab-separated otherwise. */
  table(columns: readonly string[], rows: readonly (readonly Cell[])[]): void {
    const text = (cell: Cell) => (cell === null || cell === undefined ? "" : shown(String(cell).replace(/[\t\n\r]+/g, " ")));
    const cells = rows.map((row) => row.map(text));
    if (this.terminal) this.line(renderTable(columns, cells, this.#surroundings.stdout.columns || 120));
    else for (const row of [columns, ...cells]) this.line(row.join("\t"));
  }

  /** Somebody sees a line that is rewritten. */
  get showsProgress(): boolean {
    return !this.json && this.#surroundings.stderr.isTTY === true;
  }

  /** One line that is rewritten, on a terminal only. */
  progress(label: string, done: number, total: number): void {
    if (!this.showsProgress) return;
    const { stderr } = this.#surroundings;
    stderr.write(`\r\x1b[K${cut(`${label} ${progressBar(done, total)}`, stderr.columns || 120)}`);
    this.#progressShown = true;
  }

  #clearProgress(): void {
    if (!this.#progressShown) return;
    this.#surroundings.stderr.write("\r\x1b[K");
    this.#progressShown = false;
  }
}
