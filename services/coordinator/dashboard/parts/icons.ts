import { html, svg, type TemplateResult } from "../lit.ts";

// Drawn on a grid of 20 with one line width, so that they sit well beside 14 px text.
const SHAPES = {
  check: svg`<circle cx="10" cy="10" r="7.5"/><path d="M6.8 10.300l2.2 2.2 4.3-4.7"/>`,
  down: svg`<circle cx="10" cy="10" r="7.5"/><path d="M10 6.500v7M7 10.700l3 2.9 3-2.9"/>`,
  sync: svg`<path d="M16.5 8.500A6.8 6.8 0 0 0 4.3 6.600M3.9 3.300v3.600h3.600M3.5 11.500a6.8 6.8 0 0 0 12.2 1.900M16.1 16.700v-3.600h-3.6"/>`,
  off: svg`<circle cx="10" cy="10" r="7.5"/><path d="M7.3 7.300l5.4 5.400M12.7 7.300l-5.4 5.4"/>`,
  pause: svg`<circle cx="10" cy="10" r="7.5"/><path d="M8.2 7.300v5.400M11.8 7.300v5.4"/>`,
  warn: svg`<path d="M10 3.200l7.3 12.900H2.700zM10 8.200v3.500M10 13.900v.1"/>`,
  fleet: svg`<circle cx="10" cy="4.5" r="2"/><circle cx="4.3" cy="14.5" r="2"/><circle cx="15.7" cy="14.5" r="2"/><path d="M8.9 6.300l-3.5 6.300M11.1 6.300l3.5 6.300M6.5 14.500h7"/>`,
  review: svg`<path d="M3 4.500h14M3 9h8M3 13.500h5M11.5 14.300l2 2 4-4.6"/>`,
  jobs: svg`<path d="M4 5.500h12M4 10h12M4 14.500h12"/><circle cx="7" cy="5.5" r="1.4" fill="currentColor"/><circle cx="13" cy="10" r="1.4" fill="currentColor"/><circle cx="8.5" cy="14.5" r="1.4" fill="currentColor"/>`,
  logs: svg`<path d="M5 2.800h7l3.5 3.500v10.900H5zM12 2.800v3.700h3.500M7.5 10h5.500M7.5 13.200h5.5"/>`,
  settings: svg`<circle cx="10" cy="10" r="2.5"/><path d="M10 2.600v2.200M10 15.200v2.200M2.6 10h2.200M15.2 10h2.200M4.8 4.800l1.5 1.500M13.7 13.700l1.5 1.500M15.2 4.800l-1.5 1.500M6.3 13.700l-1.5 1.5"/>`,
  plus: svg`<path d="M10 4.500v11M4.5 10h11"/>`,
  play: svg`<path d="M6.5 4.300v11.400l9-5.700z"/>`,
  close: svg`<path d="M5.5 5.500l9 9M14.5 5.500l-9 9"/>`,
  left: svg`<path d="M12 4.500L6.5 10l5.5 5.5"/>`,
  right: svg`<path d="M8 4.500l5.5 5.500L8 15.5"/>`,
  sun: svg`<circle cx="10" cy="10" r="3.3"/><path d="M10 2.500v1.800M10 15.700v1.800M2.5 10h1.800M15.7 10h1.800M4.7 4.700L6 6M14 14l1.3 1.300M15.3 4.700L14 6M6 14l-1.3 1.3"/>`,
  moon: svg`<path d="M16.5 11.800A7 7 0 0 1 8.2 3.500a7 7 0 1 0 8.3 8.300z"/>`,
  auto: svg`<circle cx="10" cy="10" r="7"/><path d="M10 3a7 7 0 0 1 0 14z" fill="currentColor"/>`,
  trash: svg`<path d="M4 5.500h12M8 5.500V3.800h4v1.700M5.5 5.500l.7 11h7.600l.7-11M8.5 8.500v5M11.5 8.500v5"/>`,
  retry: svg`<path d="M16 10a6 6 0 1 1-1.9-4.400M16.2 2.800v3.600h-3.6"/>`,
  search: svg`<circle cx="9" cy="9" r="5.3"/><path d="M13 13l4 4"/>`,
  clock: svg`<circle cx="10" cy="10" r="7.3"/><path d="M10 5.800V10l3 2"/>`,
  wait: svg`<circle cx="10" cy="10" r="7.3"/><path d="M6.6 10h.1M10 10h.1M13.4 10h.1"/>`,
  file: svg`<path d="M5 2.800h7l3.5 3.500v10.900H5zM12 2.800v3.700h3.5"/>`,
  schema: svg`<rect x="3" y="3.5" width="14" height="13" rx="1.5"/><path d="M3 8h14M8.5 8v8.5"/>`,
  shield: svg`<path d="M10 2.500l6 2.200v4.600c0 3.9-2.5 6.7-6 8.2-3.5-1.5-6-4.3-6-8.200V4.700z"/>`,
} as const;

export type IconName = keyof typeof SHAPES;

/** An icon that says nothing by itself: a word stands beside it, or the button has a name. */
export function icon(name: IconName, size = 18): TemplateResult {
  return html`<svg
    class="icon"
    viewBox="0 0 20 20"
    width=${size}
    height=${size}
    fill="none"
    stroke="currentColor"
    stroke-width="1.6"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
  >
    ${SHAPES[name]}
  </svg>`;
}

/** The same inside a drawing, with its middle at 0,0. */
export function iconAt(name: IconName, size: number): TemplateResult {
  return svg`<g transform="scale(${size / 20}) translate(-10 -10)" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round">${SHAPES[name]}</g>`;
}
