import { html, type TemplateResult } from "./lit.ts";
import { nowMs } from "./live.ts";

const WHOLE = new Intl.NumberFormat("en-GB");
const COMPACT = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** 1240 as "1,240". */
export function count(number: number): string {
  return WHOLE.format(number);
}

/** 12400 as "12.4K": where there is little room. */
export function compact(number: number): string {
  return COMPACT.format(number);
}

/** "1 change", "1,240 changes". */
export function counted(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** A length of time in the unit a person would use: "0.4 s", "12 s", "4 min", "3 h 10 min", "2 days". */
export function duration(seconds: number): string {
  if (seconds < 0.001) return "0 s";
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1_000))} ms`;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86_400) {
    const minutes = Math.round((seconds % 3_600) / 60);
    return `${Math.floor(seconds / 3_600)} h${minutes > 0 && minutes < 60 ? ` ${minutes} min` : ""}`;
  }
  return counted(Math.floor(seconds / 86_400), "day");
}

/** "−3.4 s" or "+12 ms": how far one clock is from another. */
export function offset(milliseconds: number): string {
  const size = Math.abs(milliseconds);
  if (size < 0.5) return "0 ms";
  return `${milliseconds < 0 ? "−" : "+"}${size < 1_000 ? `${Math.round(size)} ms` : duration(size / 1_000)}`;
}

/** 13_000_000_000 as "13.0 GB". */
export function bytes(size: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = size;
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 100 ? 1 : 0)} ${units[unit] ?? ""}`;
}

/** 0.953 as "95.3 %"; never rounds up to 100. */
export function percent(share: number): string {
  if (share >= 1) return "100 %";
  return `${(Math.floor(share * 1_000) / 10).toFixed(share > 0.99 || share < 0.1 ? 1 : 0)} %`;
}

/** A moment in full, in this device's zone. */
export function moment(iso: string): string {
  return MOMENT.format(new Date(iso));
}

/** Hours and minutes, with the day where it is not today. */
export function clock(iso: string): string {
  const time = new Date(iso);
  return nowMs() - time.getTime() < 20 * 3_600_000 ? CLOCK.format(time) : `${DAY.format(time)}, ${CLOCK.format(time)}`;
}

/** How long ago in words, the moment itself on asking; `never` when there is none. */
export function ago(iso: string | null | undefined, never = "never"): TemplateResult | string {
  if (iso === null || iso === undefined || iso === "") return never;
  return html`<time class="nowrap" datetime=${iso} title=${moment(iso)}>${agoText(iso)}</time>`;
}

export function agoText(iso: string): string {
  const seconds = (nowMs() - Date.parse(iso)) / 1_000;
  if (seconds < -2) return `in ${duration(-seconds)}`;
  if (seconds < 5) return "just now";
  return `${duration(seconds)} ago`;
}

/** Text that came as a part of a sentence, as a sentence of its own. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.!?…]$/.test(trimmed) ? "" : "."}`;
}
