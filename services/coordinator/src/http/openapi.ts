import { z } from "zod";
import { rpcName, type Operation } from "../operations/operation.ts";
import { EventShape, FleetShape, ProblemShape } from "../operations/shapes.ts";

type Json = Record<string, unknown>;

/** Asked for where the coordinator belongs to a fleet. */
const SECURITY_SCHEMES: Json = {
  key: { type: "http", scheme: "bearer", description: "A key from `scoutsync keys create`" },
  session: {
    type: "apiKey",
    in: "cookie",
    name: "__Host-scoutsync",
    description: "A login; what changes something needs x-csrf-token too",
  },
};

/** The OpenAPI 3.1 document of these operations, from the schemas that check their input and type their answers. */
export function openApiDocument(operations: readonly Operation[], version: string): Json {
  const components: Json = {};
  const schemaOf = (schema: z.ZodType, io: "input" | "output") => {
    return lifted(z.toJSONSchema(schema, { io, unrepresentable: "any", override: dropPattern }) as Json, components);
  };
  const paths: Record<string, Json> = {};
  for (const one of operations) {
    (paths[one.path] ??= {})[one.method.toLowerCase()] = operationObject(one, schemaOf);
  }
  schemaOf(EventShape, "output");
  paths["/api/events"] = { get: eventsObject(schemaOf(FleetShape, "output")) };
  schemaOf(ProblemShape, "output");
  return {
    openapi: "3.1.0",
    info: {
      title: "scoutsync coordinator",
      version,
      description: "Times are ISO 8601 UTC, ages and durations seconds, rates between 0 and 1. Errors are problem details (RFC 9457).",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    paths,
    security: [{ key: [] }, { session: [] }],
    components: { schemas: components, securitySchemes: SECURITY_SCHEMES },
  };
}

function operationObject(one: Operation, schemaOf: (schema: z.ZodType, io: "input" | "output") => Json): Json {
  const parameters = [...parametersOf(one.params, "path", schemaOf), ...parametersOf(one.query, "query", schemaOf)];
  const body = schemaOf(one.body, "input");
  const takesBody = (one.method === "POST" || one.method === "PUT") && Object.keys(body).length > 0 && !isEmptyObject(body);
  return {
    operationId: one.id,
    summary: one.summary,
    "x-role": one.need.role,
    "x-scope": one.need.scope,
    "x-rpc": `scoutsync.v1.Coordinator/${rpcName(one)}`,
    "x-command": `scoutsync ${one.command}`,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(takesBody ? { requestBody: { required: isRequired(body), content: { "application/json": { schema: body } } } } : {}),
    responses: {
      [one.status]:
        one.answer === null
          ? { description: "Done" }
          : { description: "Done", content: { "application/json": { schema: schemaOf(one.answer, "output") } } },
      default: {
        description: "It could not be done",
        content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    },
  };
}

function eventsObject(fleet: Json): Json {
  return {
    operationId: "watchEvents",
    summary: "Server-sent events: `snapshot` (the fleet) first, then `fleet` when it changed, `event`, `progress`",
    "x-rpc": "scoutsync.v1.Coordinator/Watch",
    responses: {
      200: { description: "A stream that does not end", content: { "text/event-stream": { schema: { type: "string" } } } },
    },
    "x-data": fleet,
  };
}

function parametersOf(schema: z.ZodType, place: "path" | "query", schemaOf: (schema: z.ZodType, io: "input") => Json): Json[] {
  const { properties = {}, required = [] } = schemaOf(schema, "input") as { properties?: Record<string, Json>; required?: string[] };
  return Object.entries(properties).map(([name, property]) => {
    const { description, ...rest } = property;
    return {
      name,
      in: place,
      required: place === "path" || required.includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

/** Moves named schemas to the components, where several operations refer to them. */
function lifted({ $schema: _dialect, $defs = {}, ...rest }: Json & { $defs?: Record<string, Json> }, components: Json): Json {
  for (const [name, definition] of Object.entries($defs)) components[name] = pointed(definition);
  return pointed(rest);
}

function pointed(schema: Json): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/')) as Json;
}

/** A format says what is meant; the expression that checks it fills the page. */
function dropPattern({ jsonSchema }: { jsonSchema: Json }): void {
  if ("format" in jsonSchema) delete jsonSchema["pattern"];
}

function isEmptyObject({ type, properties = {}, additionalProperties = false }: Json): boolean {
  return type === "object" && Object.keys(properties as object).length === 0 && additionalProperties === false;
}

function isRequired(schema: Json): boolean {
  return Array.isArray(schema["required"]) && schema["required"].length > 0;
}
