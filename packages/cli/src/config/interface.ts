import { isIP } from "node:net";

/** "all", or the IPv4 address of a network interface. */
export function isInterface(text: string): boolean {
  return text === "all" || isIP(text) === 4;
}
