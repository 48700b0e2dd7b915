import { parentPort, workerData } from "node:worker_threads";
import Database from "better-sqlite3";

// Measures how long a writer has to wait for the lock; answers the longest wait in milliseconds when told to stop.
const db = new Database(workerData as string, { timeout: 5_000 });
let longestMs = 0;
const timer = setInterval(() => {
  const start = performance.now();
  db.exec("BEGIN IMMEDIATE; COMMIT");
  longestMs = Math.max(longestMs, performance.now() - start);
}, 20);
parentPort?.on("message", () => {
  clearInterval(timer);
  db.close();
  parentPort?.postMessage(longestMs);
});
