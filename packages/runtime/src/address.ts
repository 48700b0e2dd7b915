/** `host:port`, with IPv6 hosts in brackets. */
export interface Address {
  host: string;
  port: number;
}

/** Parses `host:port`, `:port` or `port` (loopback). Returns null when it is none of these. */
export function parseAddress(text: string): Address | null {
  const match = /^(?:(\[[0-9a-fA-F:]+\]|[^:\s/]*):)?(\d{1,5})$/.exec(text.trim());
  const port = Number(match?.[2]);
  if (!match || port > 65_535) return null;
  return { host: match[1] ? match[1].replace(/^\[|\]$/g, "") : "127.0.0.1", port };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
