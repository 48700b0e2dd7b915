import { freePort, isPortFree } from "@scoutsync/runtime";

/** The wanted port when it is free, else another one, said aloud. */
export async function choosePort(wanted: number, purpose: string, say: (line: string) => void): Promise<number> {
  if (await isPortFree(wanted)) return wanted;
  const chosen = await freePort();
  say(`Port ${wanted} is taken: ${purpose} listens on ${chosen} instead.`);
  return chosen;
}
