/** A running service. */
export interface Service {
  /** Stops taking work, finishes what runs, releases everything. Safe to call twice. */
  stop(): Promise<void>;
}

/** Runs until SIGINT or SIGTERM, stops the service, exits 0; a stop that hangs is cut after `graceMs`. */
export async function runUntilSignal(service: Service, graceMs = 15_000): Promise<void> {
  await new Promise<void>((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
  });
  const cut = setTimeout(() => process.exit(1), graceMs);
  cut.unref();
  await service.stop();
}

/** Prints the one line on stdout that says a service is ready. */
export function printReady(ready: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify({ ready: true, ...ready })}\n`);
}
