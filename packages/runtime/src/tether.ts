import { spawn, type ChildProcess } from "node:child_process";

/**
 * Reads "+pid" and "-pid" lines; when its input ends, our process is gone, however that came about: it then ends what
 * is still listed. Ctrl-C must not end it first, so it ignores the terminal's signals.
 */
const WATCHDOG = `
trap '' INT TERM HUP
pids=
while read -r line; do
  case "$line" in
    +*) pids="$pids \${line#+}" ;;
    -*) rest=; for pid in $pids; do [ "$pid" = "\${line#-}" ] || rest="$rest $pid"; done; pids=$rest ;;
  esac
done
[ -n "$pids" ] || exit 0
kill -TERM $pids 2>/dev/null
for tenth in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
  kill -0 $pids 2>/dev/null || exit 0
  sleep 0.1
done
kill -KILL $pids 2>/dev/null
`;

let watchdog: ChildProcess | null = null;

/** Ties a child to this process: it is ended with us even when we are ended by SIGKILL. */
export function tether(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined) return;
  const input = watchdogInput();
  input?.write(`+${pid}\n`);
  child.once("exit", () => input?.write(`-${pid}\n`));
}

function watchdogInput(): NodeJS.WritableStream | null {
  if (!watchdog) {
    // In a session of its own: a signal to our process group must not end it before us.
    watchdog = spawn("sh", ["-c", WATCHDOG], { stdio: ["pipe", "ignore", "ignore"], detached: true });
    watchdog.on("error", () => {});
    watchdog.stdin?.on("error", () => {});
    watchdog.unref();
    (watchdog.stdin as (NodeJS.WritableStream & { unref?: () => void }) | null)?.unref?.();
  }
  return watchdog.stdin;
}
