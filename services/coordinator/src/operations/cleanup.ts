import { z } from "zod";
import { Nothing, Truth } from "./inputs.ts";
import { operation } from "./operation.ts";
import { CleanupShape } from "./shapes.ts";
import { cleanUp } from "../cleanup.ts";

const CleanupBody = z.object({ dry_run: Truth.default(false) }).loose();

/** The same under the path of existing screens. */
export const CLEANUP_OPERATIONS = ["/api/cleanup", "/api/sync/sqlite3/cleanup"].map((path) =>
  operation({
    id: path === "/api/cleanup" ? "cleanUp" : "cleanUpSqlite3",
    method: "POST",
    need: { role: "operator", scope: "logs" },
    path,
    summary: "Removes old logs and figures, or says what would be removed, and what is kept and why",
    rpc:
      path === "/api/cleanup"
        ? {
            call: "cleanup",
            answer: ({ removed, kept, ...rest }) => ({
              ...rest,
              removed: removed.map((one) => ({ ...one, reason: "" })),
              kept: kept.map((one) => ({ ...one, older_than: "" })),
            }),
          }
        : null,
    command: "cleanup",
    params: Nothing,
    query: z.object({ dry_run: Truth.optional() }),
    body: CleanupBody,
    answer: CleanupShape,
    status: 200,
    run: ({ core }, { query, body }) => cleanUp(core, { dryRun: query.dry_run ?? body.dry_run }),
  }),
);
