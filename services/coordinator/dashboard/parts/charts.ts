import { clock, compact, count, duration, offset, percent } from "../format.ts";
import { html, svg, type TemplateResult } from "../lit.ts";
import type { LagPoint, TrendPoint } from "../model.ts";
import type { Tone } from "./blocks.ts";

const WIDTH = 600;
const HEIGHT = 120;

/** Missing changes over time as an area. Shapes stretch with the page; words stand beside them and do not. */
export function lagChart(points: readonly LagPoint[]): TemplateResult {
  const first = Date.parse(points[0]?.time ?? "");
  const last = Date.parse(points.at(-1)?.time ?? "");
  const most = Math.max(1, ...points.map((point) => point.missing_changes));
  const ceiling = niceCeiling(most);
  const x = (time: string) => (last > first ? ((Date.parse(time) - first) / (last - first)) * WIDTH : 0);
  const y = (changes: number) => HEIGHT - (changes / ceiling) * (HEIGHT - 4);
  // Steps: between two measurements the earlier one is what was known.
  let line = "";
  points.forEach((point, i) => {
    line += i === 0 ? `M${x(point.time)} ${y(point.missing_changes)}` : `H${x(point.time)}V${y(point.missing_changes)}`;
  });
  const now = points.at(-1)?.missing_changes ?? 0;
  const summary = `Missing changes from ${clock(points[0]?.time ?? "")} until now: at most ${count(most)}, now ${count(now)}.`;
  return html`<figure class="chart">
    <div class="chart-y" aria-hidden="true"><span>${compact(ceiling)}</span><span>${compact(ceiling / 2)}</span><span>0</span></div>
    <svg class="plot" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${summary}>
      ${[0, 0.5, 1].map((share) => svg`<line class="rule" x1="0" x2=${WIDTH} y1=${y(ceiling * share)} y2=${y(ceiling * share)}></line>`)}
      <path class="area tone-warn" d="${line}V${HEIGHT}H0Z"></path>
      <path class="stroke tone-warn" d=${line}></path>
      ${points.map((point, i) => {
        const end = x(points[i + 1]?.time ?? point.time);
        return svg`<rect class="reader" x=${x(point.time)} y="0" width=${Math.max(1, end - x(point.time))} height=${HEIGHT}><title>${clock(point.time)}: ${count(point.missing_changes)} missing${point.oldest_missing_age_s > 0 ? `, oldest ${duration(point.oldest_missing_age_s)}` : ""}</title></rect>`;
      })}
    </svg>
    <figcaption class="chart-x" aria-hidden="true"><span>${clock(points[0]?.time ?? "")}</span><span>now</span></figcaption>
  </figure>`;
}

/** Attempts per span of time, what failed on top of what went well. */
export function trendChart(trend: readonly TrendPoint[], label: string): TemplateResult {
  const most = Math.max(1, ...trend.map(({ total }) => total));
  const step = WIDTH / Math.max(trend.length, 1);
  const column = Math.max(2, Math.min(step - 3, 28));
  const scale = (number: number) => (number / most) * (HEIGHT - 4);
  const total = trend.reduce((sum, point) => sum + point.total, 0);
  const failed = trend.reduce((sum, point) => sum + point.failed, 0);
  return html`<figure class="chart">
    <div class="chart-y" aria-hidden="true"><span>${compact(most)}</span><span></span><span>0</span></div>
    <svg
      class="plot"
      viewBox="0 0 ${WIDTH} ${HEIGHT}"
      preserveAspectRatio="none"
      role="img"
      aria-label="${label}: ${count(total)} attempts, ${count(failed)} of them failed."
    >
      <line class="rule" x1="0" x2=${WIDTH} y1=${HEIGHT} y2=${HEIGHT}></line>
      ${trend.map((point, i) => {
        const x = i * step + (step - column) / 2;
        const good = scale(point.total - point.failed);
        const bad = scale(point.failed);
        return svg`<g><title>${clock(point.time)}: ${count(point.total)} attempts, ${count(point.failed)} failed, ${duration(point.avg_duration)} on average</title>
          <rect class="reader" x=${i * step} y="0" width=${step} height=${HEIGHT}></rect>
          <rect class="column tone-ok" x=${x} width=${column} y=${HEIGHT - good} height=${good}></rect>
          <rect class="column tone-bad" x=${x} width=${column} y=${HEIGHT - good - bad - (bad > 0 && good > 0 ? 1 : 0)} height=${bad}></rect></g>`;
      })}
    </svg>
    <figcaption class="chart-x" aria-hidden="true">
      <span>${trend[0] === undefined ? "" : clock(trend[0].time)}</span><span>now</span>
    </figcaption>
  </figure>`;
}

/** How far a clock is from the coordinator's, on a scale where both a good and a bad one can be read. */
export function clockGauge(milliseconds: number, alarmMs = 5_000): TemplateResult {
  const bad = Math.abs(milliseconds) > alarmMs;
  // The middle half of the scale is what is tolerated; beyond that it is compressed.
  const share = Math.max(
    -1,
    Math.min(
      1,
      bad
        ? Math.sign(milliseconds) * (0.5 + 0.5 * Math.min(1, Math.log10(Math.abs(milliseconds) / alarmMs) / 3))
        : (milliseconds / alarmMs) * 0.5,
    ),
  );
  const x = 50 + share * 48;
  return html`<div class="gauge">
    <svg
      viewBox="0 0 100 12"
      preserveAspectRatio="none"
      role="img"
      aria-label="Clock offset ${offset(milliseconds)}; up to ${duration(alarmMs / 1_000)} is tolerated"
    >
      <rect class="gauge-ground" y="4" width="100" height="4"></rect>
      <rect class="gauge-good" x="26" y="4" width="48" height="4"></rect>
      <rect class="gauge-mark ${bad ? "tone-bad" : "tone-ok"}" x=${x - 0.6} width="1.2" height="12"></rect>
    </svg>
    <div class="gauge-scale" aria-hidden="true">
      <span>−${duration(alarmMs / 1_000)}</span><span>0</span><span>+${duration(alarmMs / 1_000)}</span>
    </div>
  </div>`;
}

/** The tone of a success rate, by the bounds that the coordinator itself uses. */
export function rateTone(rate: number): Tone {
  return rate >= 0.95 ? "ok" : rate >= 0.7 ? "warn" : "bad";
}

/** A success rate as a word for those who cannot see the colour. */
export function rateText(rate: number, total: number): string {
  return total === 0 ? "–" : percent(rate);
}

function niceCeiling(number: number): number {
  const power = 10 ** Math.floor(Math.log10(number));
  const nice = [1, 2, 4, 5, 10].find((factor) => factor * power >= number) ?? 10;
  return Math.max(2, nice * power);
}
