import { redraw } from "../redraw.ts";

export const THEMES = [
  ["auto", "As the device"],
  ["light", "Light"],
  ["dark", "Dark"],
] as const;

export type Theme = (typeof THEMES)[number][0];

const KEY = "scoutsync-theme";

/** What was chosen on this device. */
export function theme(): Theme {
  const stored = read();
  return THEMES.some(([key]) => key === stored) ? (stored as Theme) : "auto";
}

export function chooseTheme(chosen: Theme): void {
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // A browser that keeps nothing shows the choice until it is closed.
  }
  applyTheme(chosen);
  redraw();
}

export function applyTheme(chosen: Theme = theme()): void {
  if (chosen === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = chosen;
}

function read(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
