import { resolve } from "node:path";
import { Option } from "commander";
import { declare, repeatable, type Registration } from "../command.ts";
import { Negative } from "../exit.ts";

/** `scoutsync doctor`: what sync would do to a database and what stands in the way; changes nothing. */
export const registerDoctor: Registration = (program, surroundings) => {
  declare<{ db: string; exclude?: string[] }>(program, surroundings, {
    usage: "doctor",
    summary: "what sync would do to this database and what stands in the way; changes nothing",
    options: [
      new Option("--db <path>", "the SQLite file").makeOptionMandatory(),
      repeatable("--exclude <table[.column]>", "what is to be left out; repeat for more"),
    ],
    examples: ["scoutsync doctor --db ./app.db", "scoutsync doctor --db ./app.db --exclude sessions --json"],
    run: async ({ db, exclude = [] }, { out, surroundings: { cwd } }) => {
      const { diagnose } = await import("@scoutsync/replica");
      const found = diagnose(resolve(cwd, db), exclude);
      const document = {
        path: found.path,
        status: found.status,
        sqlite_version: found.sqliteVersion,
        journal_mode: found.journalMode,
        rows: found.rows,
        tables: found.tables,
        problems: found.problems,
      };
      out.result(document, () => {
        out.line(`${found.path}: ${SENTENCE[found.status]} (${found.rows} rows, journal mode ${found.journalMode})`);
        out.table(
          ["table", "synced", "rows", "identity", "note"],
          found.tables.map((table) => [table.name, table.synced ? "yes" : "no", table.rows, table.identity, table.note]),
        );
        for (const { severity, message, action } of found.problems) out.line(`${severity}: ${message}. ${action}`);
      });
      if (found.status === "refused") throw new Negative();
    },
  });
};

const SENTENCE = {
  attached: "takes part in sync",
  ready: "can take part in sync",
  refused: "cannot take part in sync yet",
} as const;
