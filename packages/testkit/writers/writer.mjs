// The same as writer.py for machines without Python: an application that has never heard of sync. Its argument: as there.
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";

const connections = new Map();

function connection(path, pragmas) {
  const name = JSON.stringify([path, pragmas]);
  let found = connections.get(name);
  if (!found) {
    found = new DatabaseSync(path, { timeout: Number(process.argv[2]), enableForeignKeyConstraints: false });
    for (const pragma of pragmas) found.exec(`PRAGMA ${pragma}`);
    connections.set(name, found);
  }
  return found;
}

function decode(value) {
  if (value === null || typeof value !== "object") return typeof value === "boolean" ? Number(value) : value;
  if ("int" in value) return BigInt(value.int);
  if ("blob" in value) return Buffer.from(value.blob, "hex");
  return Number(value.real === "inf" ? Infinity : value.real === "-inf" ? -Infinity : value.real);
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    const database = connection(request.path, request.pragmas);
    database.exec("BEGIN IMMEDIATE");
    try {
      const ids = request.statements.map(([sql, values]) => Number(database.prepare(sql).run(...values.map(decode)).lastInsertRowid));
      database.exec("COMMIT");
      answer = { ok: true, ids };
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      throw error;
    }
  } catch (error) {
    answer = { ok: false, error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
