import { z, ZodError } from "zod";
import { SyncError } from "@scoutsync/core";
import type { Operation, Scene } from "./operation.ts";

/** Stands for what is in no table: who may look at the fleet is told that there is no such thing. */
export const UNKNOWN_OPERATION: Pick<Operation, "id" | "method" | "need"> = {
  id: "unknown",
  method: "GET",
  need: { role: "viewer", scope: "fleet" },
};

/** Nothing in the table is called that. */
export function noSuchOperation(operations: readonly Operation[], id: string): SyncError {
  return new SyncError({
    code: "NOT_FOUND",
    message: `There is no operation "${id.slice(0, 80)}"`,
    action: `Use one of: ${operations.map((one) => one.id).join(", ")}.`,
  });
}

/**
 * Carries out an operation with the fields of its path, its query and its body together in one object; each goes where it
 * belongs. The answer is as a JSON reader gets it; null where there is none. Throws INVALID_ARGUMENT for fields that do not fit.
 */
export async function ask(one: Operation, scene: Scene, fields: Readonly<Record<string, unknown>>): Promise<unknown> {
  const params = namesOf(one.params);
  const query = namesOf(one.query);
  const sorted = { params: {}, query: {}, body: {} } as Record<"params" | "query" | "body", Record<string, unknown>>;
  for (const [name, value] of Object.entries(fields)) {
    // In a path and a query everything is text.
    if (params.has(name)) sorted.params[name] = asText(value);
    else if (query.has(name)) sorted.query[name] = asText(value);
    else sorted.body[name] = value;
  }
  const extra = Object.keys(sorted.body);
  if (extra.length > 0 && !takesBody(one)) throw tooMuch(one, extra);
  let input;
  try {
    input = { params: one.params.parse(sorted.params), query: one.query.parse(sorted.query), body: one.body.parse(sorted.body) };
  } catch (error) {
    throw error instanceof ZodError ? wrongInput(error) : error;
  }
  const answer = await one.run(scene, input);
  return one.answer === null ? null : (JSON.parse(JSON.stringify(answer)) as unknown);
}

/** What is wrong with the input, as one error. */
export function wrongInput(error: ZodError): SyncError {
  const issues = error.issues.map((issue) => {
    const path = issue.path.map(String).join(".");
    return path === "" ? issue.message : `${path}: ${issue.message}`;
  });
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `The request does not fit: ${issues.join("; ")}`,
    action: "See /api/openapi.json for what it takes.",
  });
}

function namesOf(schema: z.ZodType): ReadonlySet<string> {
  return new Set(schema instanceof z.ZodObject ? Object.keys(schema.shape) : []);
}

function takesBody({ body }: Operation): boolean {
  return !(body instanceof z.ZodObject) || Object.keys(body.shape).length > 0;
}

function asText(value: unknown): unknown {
  return typeof value === "number" || typeof value === "boolean" ? String(value) : value;
}

function tooMuch({ id, params, query }: Operation, names: readonly string[]): SyncError {
  const known = [...namesOf(params), ...namesOf(query)];
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `${id} takes no ${names.map((name) => `"${name.slice(0, 40)}"`).join(", ")}`,
    action: known.length === 0 ? "Leave it out: this takes nothing." : `It takes ${known.join(", ")}.`,
  });
}
