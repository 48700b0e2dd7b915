import { login, type Resource } from "./api.ts";
import { count } from "./format.ts";
import { html, nothing, render, type TemplateResult } from "./lit.ts";
import { live, onMoved, watchFleet } from "./live.ts";
import { fleetPage, statePage } from "./pages/fleet.ts";
import { jobsPage, jobsResource } from "./pages/jobs.ts";
import { loginPage } from "./pages/login.ts";
import { alertsResource, logsPage, logsResource } from "./pages/logs.ts";
import { nodePage, nodeResource } from "./pages/node.ts";
import { reviewPage, reviewResource } from "./pages/review.ts";
import { settingsPage } from "./pages/settings.ts";
import { chip } from "./parts/blocks.ts";
import { dialog } from "./parts/dialog.ts";
import { foundResource } from "./parts/found-nodes.ts";
import { icon, type IconName } from "./parts/icons.ts";
import { reviewTotal } from "./parts/node-state.ts";
import { noticeList } from "./parts/notices.ts";
import { applyTheme } from "./parts/theme.ts";
import { drawWith, redraw } from "./redraw.ts";

/** Ages on the page grow while nothing else happens. */
const AGE_TICK_MS = 5_000;

interface Page {
  title: string;
  show: (argument: string) => TemplateResult;
  /** Asked for again when the fleet moves. */
  resources?: readonly Resource<unknown>[];
}

const PAGES: Readonly<Record<string, Page>> = {
  "": { title: "Fleet", show: fleetPage, resources: [foundResource] },
  state: { title: "Fleet", show: statePage },
  nodes: { title: "Node", show: nodePage, resources: [nodeResource] },
  review: { title: "Review", show: reviewPage, resources: [reviewResource] },
  jobs: { title: "Jobs", show: jobsPage, resources: [jobsResource] },
  logs: { title: "Logs", show: logsPage, resources: [logsResource, alertsResource] },
  settings: { title: "Settings", show: settingsPage },
};

const NAVIGATION: readonly (readonly [string, IconName, string])[] = [
  ["", "fleet", "Fleet"],
  ["review", "review", "Review"],
  ["jobs", "jobs", "Jobs"],
  ["logs", "logs", "Logs"],
  ["settings", "settings", "Settings"],
];

function place(): { name: string; page: Page; argument: string } {
  const [name = "", argument = ""] = location.hash.replace(/^#\/?/, "").split("/");
  const known = name in PAGES ? name : "";
  return { name: known, page: PAGES[known] as Page, argument: decodeURIComponent(argument) };
}

function draw(): void {
  const root = document.getElementById("app");
  if (root === null) return;
  if (root.firstElementChild?.className === "boot") root.replaceChildren();
  const { name, page, argument } = place();
  const trouble = live.fleet !== null && !live.fleet.certificate.converged ? "● " : "";
  document.title = `${trouble}${page.title} · scoutsync`;
  render(login.needed ? loginPage() : frame(name, page.show(argument)), root);
}

function frame(name: string, content: TemplateResult): TemplateResult {
  return html`<a class="skip" href="#main" @click=${toContent}>Skip to content</a>
    <div class="frame">
      <div class="side">
        <nav aria-label="Main">
          <a class="brand" href="#/"><img src="dashboard/icon.svg" alt="" width="26" height="26" />scoutsync</a>
          <ul>
            ${NAVIGATION.map(([key, shape, word]) => html`<li><a class="place" href="#/${key}" aria-current=${name === key || (key === "" && (name === "nodes" || name === "state")) ? "page" : nothing}>${icon(shape)}<span>${word}</span>${badge(key)}</a></li>`)}
          </ul>
        </nav>
      </div>
      <header class="top">
        <a class="brand" href="#/" aria-label="scoutsync, fleet"><img src="dashboard/icon.svg" alt="" width="26" height="26" />scoutsync</a>
        <div class="verdict">${verdictChip()}</div>
        <span class="spring"></span>
        <span class="live ${live.line}" role="status"
          >${{ joining: "Connecting…", live: "Live", lost: "Connection lost, trying again" }[live.line]}</span
        >
      </header>
      <main id="main" tabindex="-1">${content}</main>
    </div>
    ${noticeList()}${dialog()}`;
}

function verdictChip(): unknown {
  const { fleet } = live;
  if (fleet === null || fleet.nodes.length === 0) return nothing;
  if (fleet.certificate.converged) return chip("ok", "check", "All nodes equal");
  const behind = fleet.nodes.filter(({ state, paused }) => !paused && state !== "equal").length;
  return chip("warn", "down", behind === 0 ? "Not confirmed yet" : `${count(behind)} not up to date`);
}

function badge(key: string): unknown {
  const { fleet } = live;
  if (fleet === null) return nothing;
  const [number, tone, meaning] =
    key === "review"
      ? [reviewTotal(fleet.nodes), "", "to review"]
      : key === "jobs"
        ? fleet.jobs.failed > 0
          ? [fleet.jobs.failed, "tone-bad", "gave up"]
          : [fleet.jobs.active, "tone-busy", "running"]
        : [0, "", ""];
  return number === 0 ? nothing : html`<span class="count num ${tone}">${count(number)}<span class="hidden-text"> ${meaning}</span></span>`;
}

function toContent(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

let shown = place();
window.addEventListener("hashchange", () => {
  const next = place();
  const moved = next.name !== shown.name || next.argument !== shown.argument;
  if (next.name !== shown.name) for (const resource of shown.page.resources ?? []) resource.leave();
  shown = next;
  if (!moved) return redraw();
  window.scrollTo(0, 0);
  draw();
  // Who moves by keyboard or hears the page goes on reading at the new content.
  document.getElementById("main")?.focus({ preventScroll: true });
});
onMoved(() => {
  for (const resource of shown.page.resources ?? []) void resource.refresh();
});
setInterval(redraw, AGE_TICK_MS);
applyTheme();
drawWith(draw);
draw();
watchFleet();
