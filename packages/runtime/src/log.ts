import { pino, type Logger } from "pino";

export type { Logger };

/** Logs as JSON lines on stderr: stdout belongs to the ready line and to `--json`. */
export function createLogger(name: string, level = "info"): Logger {
  return pino({ name, level, base: { name } }, pino.destination({ fd: 2, sync: true }));
}
