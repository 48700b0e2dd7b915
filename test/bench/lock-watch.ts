import { parentPort, workerData } from "node:worker_threads";
import Database from "better-sqlite3";

// Asks for the write lock every 2 ms without waiting; answers the longest time for which it was never free, milliseconds.
const db = new Database(workerData as string, { timeout: 0 });
let longestMs = 0;
let lastFree = performance.now();
const timer = setInterval(() => {
  try {
    db.exec("BEGIN IMMEDIATE");
    db.exec("COMMIT");
    lastFree = performance.now();
  } catch {
    longestMs = Math.max(longestMs, performance.now() - lastFree);
  }
}, 2);
parentPort?.on("message", () => {
  clearInterval(timer);
  db.close();
  parentPort?.postMessage(longestMs);
});
