import { compact, count } from "../format.ts";
import { html, nothing, ref, repeat, svg, type TemplateResult } from "../lit.ts";
import type { Certificate, Node } from "../model.ts";
import { redraw } from "../redraw.ts";
import { icon, iconAt } from "./icons.ts";
import { byNeed, lookOf, missingText, NODE_STATES } from "./node-state.ts";

/** More nodes than this have no room for a name each: they become a field of cells. */
const MOST_ON_RING = 12;
const MOST_ON_NARROW_RING = 6;
const NARROW = 460;
const RADIUS = 23;

let width = 600;
const measure = watchWidth((measured) => {
  if (measured === width) return;
  width = measured;
  redraw();
});

/** The fleet as a picture: who is there, who lacks how much, who fetches from whom. */
export function fleetMap(nodes: readonly Node[], certificate: Certificate): TemplateResult {
  const content = nodes.length <= (width < NARROW ? MOST_ON_NARROW_RING : MOST_ON_RING) ? ring(nodes, certificate) : cells(nodes);
  return html`<div class="fleet-map" ${measure}>${content}${legend(nodes)}</div>`;
}

function ring(nodes: readonly Node[], certificate: Certificate): TemplateResult {
  const height = nodes.length <= 2 ? 200 : nodes.length === 3 ? 260 : Math.round(Math.max(290, Math.min(400, width * 0.66)));
  const [cx, cy] = [width / 2, height / 2 - 8];
  const rx = Math.max(40, Math.min(width / 2 - 62, 300));
  const ry = height / 2 - 62;
  // Two stand beside each other; more start at the top.
  const first = nodes.length === 2 ? Math.PI : -Math.PI / 2;
  const places = new Map(
    nodes.map((node, i) => {
      const angle = first + (i * 2 * Math.PI) / nodes.length;
      return [node.id, { x: cx + rx * Math.cos(angle), y: cy + ry * Math.sin(angle) }] as const;
    }),
  );
  const upToDate = nodes.filter(({ state }) => state === "equal").length;
  const counting = nodes.filter(({ paused }) => !paused).length;
  return html`<svg class="ring" width=${width} height=${height} viewBox="0 0 ${width} ${height}" role="group" aria-label="Map of the fleet">
    ${nodes.length === 2 ? nothing : svg`<ellipse class="orbit" cx=${cx} cy=${cy} rx=${rx} ry=${ry}></ellipse>`}
    ${sessionsOf(nodes).map(([from, to]) => {
      const [a, b] = [places.get(from), places.get(to)];
      return a === undefined || b === undefined ? nothing : svg`<line class="flow" x1=${a.x} y1=${a.y} x2=${b.x} y2=${b.y}></line>`;
    })}
    <g
      class="verdict-mark ${certificate.converged ? "tone-ok" : "tone-warn"}"
      transform="translate(${cx} ${nodes.length === 2 ? cy - 40 : cy})"
      aria-hidden="true"
    >
      <text class="share num" y="2" text-anchor="middle">${upToDate}<tspan class="of"> / ${counting}</tspan></text>
      <text class="share-label" y="22" text-anchor="middle">up to date</text>
    </g>
    ${repeat(
      nodes,
      ({ id }) => id,
      (node) => ringNode(node, places.get(node.id) ?? { x: cx, y: cy }),
    )}
  </svg>`;
}

/** Who fetches from whom now: both ends tell of a session, it is drawn once. */
function sessionsOf(nodes: readonly Node[]): [from: number, to: number][] {
  // Sessions name their peer; where two nodes have one name, either will do for a line.
  const ids = new Map(nodes.map(({ name, id }) => [name, id]));
  return nodes.flatMap(({ id, session }) => (session?.role === "node" ? [[ids.get(session.peer) ?? id, id]] : []));
}

function ringNode(node: Node, { x, y }: { x: number; y: number }): TemplateResult {
  const look = lookOf(node.state);
  const length = 2 * Math.PI * (RADIUS + 3);
  const { session } = node;
  const done = session !== null && session.total > 0 ? Math.min(1, session.done / session.total) : null;
  const line = node.missing_changes > 0 ? `misses ${compact(node.missing_changes)}` : node.state === "equal" ? "" : look.word.toLowerCase();
  return svg`<a class="ring-node tone-${look.tone} state-${node.state}" href="#/nodes/${node.id}" transform="translate(${x} ${y})">
    <title>${node.name}: ${look.word}, ${missingText(node)}</title>
    <circle class="disc" r=${RADIUS}></circle>
    ${done === null ? nothing : svg`<circle class="done" r=${RADIUS + 3} stroke-dasharray="${done * length} ${length}" transform="rotate(-90)"></circle>`}
    <g class=${node.state === "syncing" ? "turning" : ""}>${iconAt(look.icon, 22)}</g>
    <text class="name" y=${RADIUS + 17} text-anchor="middle">${shortened(node.name)}</text>
    <text class="lack num" y=${RADIUS + 32} text-anchor="middle">${line}</text>
  </a>`;
}

function cells(nodes: readonly Node[]): TemplateResult {
  return html`<ul class="cells" aria-label="Map of the fleet, worst first">
    ${repeat(
      nodes.toSorted(byNeed),
      ({ id }) => id,
      (node) => {
        const look = lookOf(node.state);
        const text = `${node.name}: ${look.word}, ${missingText(node)}`;
        return html`<li>
          <a class="fleet-cell ground-${look.tone} state-${node.state}" href="#/nodes/${node.id}" title=${text} aria-label=${text}
            >${icon(look.icon, 16)}</a
          >
        </li>`;
      },
    )}
  </ul>`;
}

function legend(nodes: readonly Node[]): TemplateResult {
  const states = NODE_STATES.map((state) => ({ state, number: nodes.filter((node) => node.state === state).length }));
  return html`<ul class="legend" aria-label="Nodes by state">
    ${states
      .filter(({ number }) => number > 0)
      .toReversed()
      .map(({ state, number }) => {
        const look = lookOf(state);
        return html`<li>
          <span class="tone-${look.tone}">${icon(look.icon, 15)}</span>${look.word} <strong class="num">${count(number)}</strong>
        </li>`;
      })}
  </ul>`;
}

function shortened(name: string): string {
  return name.length <= 14 ? name : `${name.slice(0, 13)}…`;
}

/** Tells how wide an element is, at first and whenever that changes. */
function watchWidth(tell: (width: number) => void): unknown {
  const observer = new ResizeObserver(([entry]) => {
    const measured = Math.round(entry?.contentRect.width ?? 0);
    if (measured > 0) tell(measured);
  });
  return ref((element) => {
    observer.disconnect();
    if (element !== undefined) observer.observe(element);
  });
}
