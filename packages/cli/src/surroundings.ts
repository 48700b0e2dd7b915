import type { WriteStream } from "node:tty";

/** All that a command sees of the process it runs in; only main.ts reads the real one. */
export interface Surroundings {
  /** Arguments after the program's name. */
  argv: string[];
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  stdout: NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY" | "columns">>;
  stderr: NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY" | "columns">>;
}
