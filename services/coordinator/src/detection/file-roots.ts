import type { FleetNode } from "./fleet.ts";

/**
 * True when two nodes hold other files in a root that both have, or the first one knows of files there whose bytes it does
 * not have: the digest is of what is known.
 */
export function filesDiffer(node: FleetNode, other: FleetNode): boolean {
  return node.files.some(({ root, digest, pending }) =>
    other.files.some((there) => there.root === root && (there.digest !== digest || pending > 0)),
  );
}

/** True when a node knows of files whose bytes it does not have, in a root that another of `among` has too. */
export function wantsFiles(node: FleetNode, among: readonly FleetNode[]): boolean {
  return node.files.some(
    ({ root, pending }) => pending > 0 && among.some((other) => other.id !== node.id && other.files.some((there) => there.root === root)),
  );
}

/** True when a node has the bytes of all files that it knows of. */
export function hasAllFiles({ files }: FleetNode): boolean {
  return files.every(({ pending }) => pending === 0);
}

/** Roots in which not all nodes that have them hold the same files. */
export function rootsApart(nodes: readonly FleetNode[]): Set<string> {
  const digests = new Map<string, string>();
  const apart = new Set<string>();
  for (const { root, digest } of nodes.flatMap((node) => node.files)) {
    const other = digests.get(root);
    if (other === undefined) digests.set(root, digest);
    else if (other !== digest) apart.add(root);
  }
  return apart;
}
