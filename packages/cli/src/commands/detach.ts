import { resolve } from "node:path";
import { Option } from "commander";
import { declare, type Registration } from "../command.ts";

/** `scoutsync detach`: removes every trace of sync from a database. */
export const registerDetach: Registration = (program, surroundings) => {
  declare<{ db: string }>(program, surroundings, {
    usage: "detach",
    summary: "remove every trace of sync from this database, journal mode included; its rows stay",
    options: [new Option("--db <path>", "the SQLite file; no node may run on it").makeOptionMandatory()],
    examples: ["scoutsync detach --db ./app.db"],
    run: async ({ db }, { out, surroundings: { cwd } }) => {
      const { detach } = await import("@scoutsync/replica");
      const path = resolve(cwd, db);
      const { removed, journalMode } = detach(path);
      out.result({ path, removed, journal_mode: journalMode }, () =>
        out.line(
          removed.length === 0
            ? `${path} held no trace of sync; journal mode ${journalMode}.`
            : `${path} is as if it had never been in sync: removed ${removed.join(", ")}; journal mode ${journalMode}. To take part again, begin with an empty database or a copy of another node's: the rows here would be there twice.`,
        ),
      );
    },
  });
};
