import { run } from "./run.ts";

const code = await run({
  argv: process.argv.slice(2),
  env: process.env,
  cwd: process.cwd(),
  stdout: process.stdout,
  stderr: process.stderr,
});

// Sockets that are still closing must not keep a finished command alive, and a pipe must get its last bytes first.
process.stdout.write("", () => process.exit(code));
