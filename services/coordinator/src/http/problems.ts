import type { z } from "zod";
import { ZodError } from "zod";
import { SyncError, toPlainError, type ErrorCode } from "@scoutsync/core";
import { wrongInput } from "../operations/ask.ts";
import type { ProblemShape } from "../operations/shapes.ts";

type Problem = z.infer<typeof ProblemShape>;

const HTTP_STATUS: Partial<Record<ErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  LIMIT_EXCEEDED: 429,
  BATCH_CORRUPT: 400,
  NOT_FOUND: 404,
  DATABASE_NOT_FOUND: 404,
  BUSY: 409,
  FENCED: 409,
  BATCH_GAP: 409,
  BASELINE_CHOICE: 409,
  SCOPE_OTHER_SERVER: 409,
  RULES_DIFFER: 409,
  RECEIVE_ONLY: 409,
  INTERNAL: 500,
  REDIS_UNREACHABLE: 503,
  SHUTTING_DOWN: 503,
};
/** A node could not do what it was asked. */
const BAD_GATEWAY = 502;

/** What a request is answered with when it failed: RFC 9457, with the older `success` and `error` beside it. */
export function problemOf(thrown: unknown): Problem {
  if (thrown instanceof ZodError) return problemOf(wrongInput(thrown));
  // Fastify's own refusals (no such body, wrong content type) carry their status.
  const own = (thrown as { statusCode?: unknown }).statusCode;
  if (!(thrown instanceof SyncError) && typeof own === "number" && own < 500) {
    const detail = (thrown as Error).message;
    return problem(own, { code: "INVALID_ARGUMENT", message: detail, action: "See /api/openapi.json." });
  }
  const plain = toPlainError(thrown);
  // A stack is for the log, not for whoever asks.
  const message = plain.code === "INTERNAL" ? "The request failed by a defect in the program" : plain.message;
  return problem(HTTP_STATUS[plain.code] ?? BAD_GATEWAY, { ...plain, message });
}

/** There is nothing at this path. */
export function noSuchRoute(method: string, url: string): Problem {
  return problem(404, {
    code: "NOT_FOUND",
    message: `There is nothing at ${method} ${url.split("?", 1)[0]?.slice(0, 200) ?? ""}`,
    action: "See /api/openapi.json.",
  });
}

function problem(status: number, { code, message, action }: { code: ErrorCode; message: string; action: string }): Problem {
  return {
    type: `urn:scoutsync:problem:${code.toLowerCase().replaceAll("_", "-")}`,
    title: code.toLowerCase().replaceAll("_", " "),
    status,
    detail: message,
    code,
    action,
    success: false,
    error: message,
  };
}
