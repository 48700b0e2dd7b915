import type { FastifyInstance } from "fastify";
import { readAssets } from "./assets.ts";

/**
 * Everything comes from here and nothing from elsewhere; no inline script or style runs. The last two lines keep text
 * that came from a database from ever becoming markup, even by a mistake in our own code.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types lit-html",
].join("; ");

/** Serves the dashboard at `/` and what it loads below `/dashboard/`, from memory. It needs the JSON routes beside it. */
export async function registerDashboard(server: FastifyInstance): Promise<void> {
  const assets = await readAssets();
  for (const [path, { type, body, etag }] of assets) {
    server.get(path, async (request, reply) => {
      void reply.headers({
        "cache-control": "no-cache",
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        etag,
      });
      if (request.headers["if-none-match"] === etag) return reply.code(304).send();
      return reply.type(type).send(body);
    });
  }
}
