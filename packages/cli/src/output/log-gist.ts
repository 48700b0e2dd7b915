/** The one thing worth reading of the details of a line of the log (JSON text): why it failed, or what moved. */
export function logGist(details: string): string {
  const read = parsed(details);
  if (read === null) return details;
  const { errors, message, source } = read;
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  for (const said of [first, textIn(first, "message"), message]) if (typeof said === "string" && said !== "") return said;
  const moved = [
    ...amounts(read["database_changes"], { received: "changes received", sent: "changes sent" }),
    ...amounts(read["file_changes"], { downloaded: "files received", uploaded: "files sent" }),
  ];
  const peer = typeof source === "string" && source !== "" ? [`with ${source}`] : [];
  return [...peer, ...(moved.length > 0 ? moved : ["nothing to exchange"])].join(", ");
}

function parsed(details: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(details);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    // Lines that something else wrote into the table are shown as they are.
    return null;
  }
}

function textIn(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function amounts(counts: unknown, words: Readonly<Record<string, string>>): string[] {
  return Object.entries(words).flatMap(([key, word]) => {
    const amount = textIn(counts, key);
    return typeof amount === "number" && amount > 0 ? [`${word}: ${amount}`] : [];
  });
}
