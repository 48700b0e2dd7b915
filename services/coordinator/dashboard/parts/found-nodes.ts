import { notify } from "../act.ts";
import { api, Resource } from "../api.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import type { FoundNode, Node } from "../model.ts";
import { card } from "./blocks.ts";
import { button } from "./button.ts";
import { ask, consequences } from "./dialog.ts";

/** Who says that it is there is no event of the fleet, so it is asked for, milliseconds. */
const ASK_EVERY_MS = 15_000;

/** The command line's words for the button. */
const ADD_COMMAND = /: scoutsync nodes add .*$/;

export const foundResource = new Resource<{ discovered: FoundNode[] }>();
setInterval(() => document.visibilityState === "visible" && void foundResource.refresh(), ASK_EVERY_MS);

/** Nodes that say on the coordinator's network that they are there and are not in the fleet; nothing where there are none. */
export function foundNodes(): TemplateResult | typeof nothing {
  const heard = foundResource.show("api/discovered").value?.discovered ?? [];
  const found = heard.filter(({ known }) => !known);
  if (found.length === 0) return nothing;
  return html`<div class="span-12">
    ${card(
      "Heard on this network, not in the fleet",
      html`<ul class="found">
        ${found.map(
          (one) =>
            html`<li>
              <div>
                <p><strong>${one.name || one.id}</strong> <span class="muted">${one.address}</span></p>
                <p class="muted small">${one.advice.replace(ADD_COMMAND, ".")}</p>
              </div>
              ${ADD_COMMAND.test(one.advice) ? button({ label: "Add", name: `Add ${one.name || one.address}`, icon: "plus", run: () => add(one) }) : nothing}
            </li>`,
        )}
      </ul>`,
      { flush: true },
    )}
  </div>`;
}

function add({ name, address }: FoundNode): void {
  ask({
    title: `Add ${name || address} to the fleet?`,
    body: () =>
      consequences(
        html`Nothing of what is heard is proven: add it only if ${address} is yours.`,
        "Its databases and those of the other nodes that have the same name become equal: rows go in both directions.",
      ),
    confirm: "Add node",
    async run() {
      const { node } = await api<{ node: Node }>("POST", "api/nodes", { address, ...(name === "" ? {} : { name }) });
      if (node.online) notify("ok", `${node.name} is in the fleet.`);
      else notify("bad", `${node.name} is in the list, but does not answer at ${address}.`, node.last_error);
      await foundResource.refresh();
    },
  });
}
