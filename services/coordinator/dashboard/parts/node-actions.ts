import { act, notify } from "../act.ts";
import { api } from "../api.ts";
import { counted } from "../format.ts";
import { html } from "../lit.ts";
import type { Node } from "../model.ts";
import { ask, consequences, typed } from "./dialog.ts";
import { missingText } from "./node-state.ts";

interface SyncAnswer {
  success: boolean;
  stats: { local_changes_sent: number; remote_changes_received: number; files_uploaded: number; files_downloaded: number };
  error?: string;
}

/** Brings one node up to date now. */
export function syncNode(node: Node): void {
  void act(
    `sync ${node.id}`,
    () => api<SyncAnswer>("POST", `api/nodes/${node.id}/sync`),
    ({ success, stats, error }) => {
      if (!success) return { tone: "bad", text: `${node.name} could not be brought up to date.`, hint: error ?? "" };
      const moved = [
        stats.remote_changes_received > 0 ? `${counted(stats.remote_changes_received, "change")} received` : "",
        stats.local_changes_sent > 0 ? `${counted(stats.local_changes_sent, "change")} sent` : "",
        stats.files_downloaded + stats.files_uploaded > 0
          ? `${counted(stats.files_downloaded + stats.files_uploaded, "file")} exchanged`
          : "",
      ].filter((part) => part !== "");
      return `${node.name} is up to date: ${moved.length > 0 ? moved.join(", ") : "there was nothing to exchange"}.`;
    },
  );
}

/** Asks for the address of a node that does not register by itself. */
export function addNode(): void {
  ask({
    title: "Add a node",
    body: () =>
      html`<p class="muted">
          A node that is started with <code>--coordinator</code> appears by itself. Here you name one that runs without it.
        </p>
        <label class="field"
          ><span>Address</span
          ><input
            class="input"
            name="address"
            required
            placeholder="venue-b.example:7071"
            autocomplete="off"
            autocapitalize="off"
            spellcheck="false"
            autofocus
          /><span class="hint">Host and gRPC port, as the coordinator and the other nodes reach it.</span></label
        >
        <label class="field"
          ><span>Name (optional)</span><input class="input" name="name" autocomplete="off" maxlength="100" /><span class="hint"
            >Otherwise the name that the node gives itself.</span
          ></label
        >`,
    confirm: "Add node",
    async run(form) {
      const address = typed(form, "address").trim();
      const name = typed(form, "name").trim();
      const { node } = await api<{ node: Node }>("POST", "api/nodes", { address, ...(name === "" ? {} : { name }) });
      if (node.online) notify("ok", `${node.name} is in the fleet. It ${missingText(node)}.`);
      else notify("bad", `${node.name} is in the list, but does not answer at ${address}.`, node.last_error);
      location.hash = `#/nodes/${node.id}`;
    },
  });
}

/** Asks before a node is taken out of the fleet. */
export function removeNode(node: Node): void {
  ask({
    title: `Remove ${node.name} from the fleet?`,
    body: () =>
      html`${consequences(
          "The coordinator forgets it and starts no session with it any more.",
          "Its database stays where it is with all its rows; so do the other nodes.",
          node.unsent_changes > 0
            ? html`<strong>${counted(node.unsent_changes, "change")} that only it holds will not reach the others.</strong> Sync it first if
                you can.`
            : "It holds nothing that the others lack, as far as is known.",
          node.online
            ? "While it runs with --coordinator it registers again: stop it, or start it without."
            : "If it comes back with --coordinator it registers again.",
        )}<label class="choice"
          ><input type="checkbox" name="retire" /><span
            >It is gone for good<span class="hint"
              >The others take over what it sent only in part, so that they can be found equal without it.</span
            ></span
          ></label
        >`,
    confirm: "Remove node",
    danger: true,
    async run(form) {
      if (form.get("retire") === "on") await api("POST", `api/nodes/${node.id}/retire`);
      else await api("DELETE", `api/nodes/${node.id}`);
      notify("ok", `${node.name} was removed from the fleet.`);
      location.hash = "#/";
    },
  });
}

/** Asks before a node is left out; taking it back in needs no question. */
export function pauseNode(node: Node): void {
  if (node.paused) {
    void act(
      `pause ${node.id}`,
      () => api("POST", `api/nodes/${node.id}/resume`),
      () => `${node.name} takes part again.`,
    );
    return;
  }
  ask({
    title: `Pause ${node.name}?`,
    body: () =>
      consequences(
        "No session with it is started until you resume it; one that runs goes on to its end.",
        "It keeps what is written there, and falls behind the others.",
        "The fleet counts as equal without it.",
      ),
    confirm: "Pause node",
    async run() {
      await api("POST", `api/nodes/${node.id}/pause`);
      notify("ok", `${node.name} is paused.`);
    },
  });
}
