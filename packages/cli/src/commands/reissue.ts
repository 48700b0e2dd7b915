import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { withNode } from "../connect.ts";
import { count } from "../output/json.ts";

/** It goes through what is held, in turns: minutes where that is half of a large database. */
const DEADLINE_MS = 60 * 60_000;

/** `scoutsync reissue`: what a destroyed node left half sent becomes part of what everybody can have. */
export const registerReissue: Registration = (program, surroundings) => {
  declare<{ db: string }>(program, surroundings, {
    usage: "reissue <node>",
    summary: "takes over what a node that is gone for good has sent only in part, so that all others can be equal again",
    usesCoordinator: true,
    options: [new Option("--db <name>", "the database").makeOptionMandatory()],
    examples: ["scoutsync reissue 127.0.0.1:7071 --db main"],
    run: async ({ db }, invocation, node = "") => {
      const answer = await withNode(node, invocation, (client) => unary(client, "reissue", { database: db }, { deadlineMs: DEADLINE_MS }));
      const origins = count(answer.origins);
      const { out } = invocation;
      out.result({ database: db, origins }, () =>
        out.line(
          origins === 0
            ? "Nothing was left half sent: there is nothing to take over."
            : `Took over what ${origins} ended ${origins === 1 ? "run" : "runs"} left; it travels to the other servers with the next sync.`,
        ),
      );
    },
  });
};
