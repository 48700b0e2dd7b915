// The one place that names the rendering library: the server puts it beside these files.
export { html, nothing, render, svg, type TemplateResult } from "./lit-html/lit-html.js";
export { keyed } from "./lit-html/directives/keyed.js";
export { live } from "./lit-html/directives/live.js";
export { ref } from "./lit-html/directives/ref.js";
export { repeat } from "./lit-html/directives/repeat.js";
