import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

export interface OpenApi {
  openapi: string;
  paths: Record<
    string,
    Record<string, { operationId: string; "x-rpc"?: string; "x-command"?: string; responses: Record<string, Answer | undefined> }>
  >;
  components: { schemas: Record<string, object> };
}
interface Answer {
  content?: Record<string, { schema: object }>;
}

/** The coordinator's own description of itself, and whether what it answers is what that says. */
export class Described {
  readonly document: OpenApi;
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true });

  constructor(document: OpenApi) {
    this.document = document;
    this.#ajv.addFormat("base64", true);
    // The types of the package say otherwise; Node imports its function.
    (addFormats as unknown as (target: Ajv2020) => void)(this.#ajv);
  }

  static async of(url: string): Promise<Described> {
    return new Described((await (await fetch(url)).json()) as OpenApi);
  }

  /** The type and schema of an answer; null where none is described, undefined where the route is not. */
  answer(method: string, template: string, status: number): { type: string; schema: object } | null | undefined {
    const described = this.document.paths[template]?.[method.toLowerCase()]?.responses;
    if (described === undefined) return undefined;
    const content = (described[status] ?? described["default"])?.content ?? {};
    const [type] = Object.keys(content);
    return type === undefined ? null : { type, schema: content[type]?.schema ?? {} };
  }

  /** What does not fit. */
  problems(schema: object, json: unknown): unknown[] {
    const validate = this.#ajv.compile({ ...schema, components: this.document.components });
    validate(json);
    return validate.errors ?? [];
  }
}
