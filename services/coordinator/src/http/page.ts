import type { Core } from "../core.ts";
import { ageSeconds } from "../detection/fleet.ts";

/** The fleet as one table, readable without any script. */
export function statusPage(core: Core): string {
  const { converged, since } = core.certificate.current();
  const rows = core.fleet.nodes().map((node) => {
    const { row, missing } = node;
    const state = !node.enabled ? "disabled" : node.online ? "online" : "not answering";
    const lacks = missing.changes === 0 ? "nothing" : `${missing.changes} changes, oldest ${ageSeconds(missing)} s`;
    const cells = [row.id, row.name, node.address, state, lacks, row.last_sync ?? "never", row.last_error];
    return `<tr>${cells.map((cell) => `<td>${escaped(String(cell))}</td>`).join("")}</tr>`;
  });
  const verdict = converged ? "All nodes are equal" : "The nodes are not equal";
  const trouble = core.link.problem === "" ? "" : `<p role="alert">${escaped(core.link.problem)}</p>`;
  const heads = ["id", "name", "address", "state", "lacks", "last verified sync", "last error"];
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5">
<title>scoutsync: ${escaped(verdict)}</title>
<style>
  :root { color-scheme: light dark; font-family: system-ui, sans-serif }
  body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #8884 }
</style>
<h1>${escaped(verdict)}</h1>
<p>since ${escaped(since)}</p>
${trouble}
<table>
<thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join("")}</tr></thead>
<tbody>${rows.join("") || `<tr><td colspan="${heads.length}">No node has registered yet.</td></tr>`}</tbody>
</table>
</html>
`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
