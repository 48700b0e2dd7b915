import { parentPort, workerData } from "node:worker_threads";
import Database from "better-sqlite3";

// An application with an ordinary busy timeout that writes a row every 20 ms; answers how long each write took, milliseconds.
const db = new Database(workerData as string, { timeout: 5_000 });
db.pragma("synchronous = FULL");
const insert = db.prepare("INSERT INTO beat(at) VALUES(?)");
const took: number[] = [];
const timer = setInterval(() => {
  const start = performance.now();
  insert.run(Date.now());
  took.push(performance.now() - start);
}, 20);
parentPort?.on("message", () => {
  clearInterval(timer);
  db.close();
  parentPort?.postMessage(took);
});
