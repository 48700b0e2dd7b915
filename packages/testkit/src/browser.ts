import { accessSync, constants, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";
import { boundOf } from "./wait.ts";

const PROGRAMS = ["chromium", "chromium-browser", "google-chrome"];

/** The Chromium of this machine, or null: tests in a browser are then skipped. */
export function findChromium(): string | null {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    for (const program of PROGRAMS) {
      const path = join(folder, program);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // The next one may be there.
      }
    }
  }
  return null;
}

/** Starts a real browser without a window. A container's root has no sandbox to offer. */
export function startBrowser(path: string): Promise<Browser> {
  return chromium.launch({ executablePath: path, timeout: boundOf(60_000), args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
}

/** One rule of accessibility that a page breaks, with the elements that break it. */
export interface AccessibilityProblem {
  rule: string;
  help: string;
  elements: string[];
}

let axe: string | null = null;

/** What axe-core finds wrong with a page as it is now; it checks WCAG 2.2 A and AA and good practice. */
export async function accessibilityProblems(page: Page): Promise<AccessibilityProblem[]> {
  axe ??= readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(axe);
  const found = await page.evaluate<{ violations: { id: string; help: string; nodes: { html: string; failureSummary?: string }[] }[] }>(
    "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => ({ violations }))",
  );
  return found.violations.map(({ id, help, nodes }) => ({
    rule: id,
    help,
    elements: nodes.map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary ?? ""}`),
  }));
}
