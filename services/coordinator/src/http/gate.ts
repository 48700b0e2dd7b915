import cookie from "@fastify/cookie";
import { SyncError, toPlainError } from "@scoutsync/core";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { checkNeed, holderOf, type Holder, type Need } from "../access/needs.ts";
import { isToken, type Session } from "../access/logins.ts";
import type { Membership } from "../membership.ts";
import { isAct, nameOf, noteRequest } from "./acts.ts";
import { LOGIN_PATH, loginPage } from "./login-page.ts";

/** Only over HTTPS, from this host, for all of it; the prefix has browsers insist on that. */
const SESSION_COOKIE = "__Host-scoutsync";
const CSRF_COOKIE = "__Host-scoutsync_csrf";
const CSRF_HEADER = "x-csrf-token";
/** What shows the fleet and changes nothing. */
export const LOOK: Need = { role: "viewer", scope: "fleet" };
/** The pages of the dashboard, which only show what the routes let through. */
const isPage = (path: string) => path === "/" || path.startsWith("/dashboard/");
/** What needs nobody to be known. */
const OPEN_PATHS: ReadonlySet<string> = new Set([LOGIN_PATH, "/healthz"]);

const HEADERS: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "content-security-policy":
    "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
};

/** A route that says nothing of who may use it. */
const NOBODY_ELSE: Need = { role: "superadmin", scope: "access" };

const LoginBody = z.object({ name: z.string().max(64), password: z.string().max(1_024) });

declare module "fastify" {
  interface FastifyContextConfig {
    /** What the route needs of whoever asks. A route without it is for superadmins. */
    need?: Need;
  }
}

interface Asker extends Holder {
  /** For the audit log. */
  readonly who: string;
  /** Null for the holder of a key. */
  readonly session: Session | null;
}

/**
 * Stands before every route of a coordinator that belongs to a fleet: a key in `authorization`, or the session of who has
 * logged in, has to fit what the route needs. Has to be added before the routes.
 */
export async function addGate(server: FastifyInstance, membership: Membership): Promise<void> {
  const { logins, audit } = membership;
  await server.register(cookie);

  server.addHook("onRequest", async (request, reply) => {
    for (const [name, value] of Object.entries(HEADERS)) reply.raw.setHeader(name, value);
    // Other programs share the name "localhost", and not all of them are HTTPS.
    if (request.hostname !== "localhost") reply.raw.setHeader("strict-transport-security", "max-age=31536000");
    const path = request.url.split("?", 1)[0] ?? "";
    if (OPEN_PATHS.has(path) && request.routeOptions.url === path) return;
    reply.raw.setHeader("cache-control", "no-store");
    let who = request.ip;
    const what = nameOf(request);
    try {
      const asker = identified(request, membership);
      ({ who } = asker);
      request.mayStill = () => mayStill(request, membership);
      if (asker.session !== null && isAct(request)) checkIntent(request, asker.session);
      const need = request.routeOptions.config.need ?? (isPage(path) ? LOOK : NOBODY_ELSE);
      // There is nothing at this path: said to whoever may look at the fleet at all.
      if (request.routeOptions.url !== undefined) checkNeed(asker, need, what);
      if (isAct(request)) noteRequest(request, audit, who);
    } catch (error) {
      const { code, message } = toPlainError(error);
      audit.write({ who, what, outcome: "refused", details: `${code}: ${message}` });
      if (code === "UNAUTHENTICATED" && wantsPage(request)) return reply.redirect(LOGIN_PATH, 303);
      throw error;
    }
  });

  server.get(LOGIN_PATH, (request, reply) => {
    if (sessionOf(request, membership) !== null) return reply.redirect("/", 303);
    return reply.type("text/html; charset=utf-8").header("cache-control", "no-store").send(loginPage(""));
  });

  server.post(LOGIN_PATH, async (request, reply) => {
    const form = !/json/.test(request.headers["content-type"] ?? "");
    const parsed = LoginBody.safeParse(request.body ?? {});
    const { name, password } = parsed.success ? parsed.data : { name: "", password: "" };
    try {
      checkOrigin(request);
      const { token, csrf, session } = await logins.login(name, password, request.ip);
      audit.write({ who: `user:${session.name}`, what: "login", outcome: "done", details: request.ip });
      const common = { path: "/", secure: true, sameSite: "strict" } as const;
      reply.setCookie(SESSION_COOKIE, token, { ...common, httpOnly: true });
      // Read by our own page and sent back in a header, which no other site can do.
      reply.setCookie(CSRF_COOKIE, csrf, common);
      if (form) return await reply.redirect("/", 303);
      return { name: session.name, role: session.role, csrf_token: csrf };
    } catch (error) {
      const { code, message } = toPlainError(error);
      audit.write({ who: request.ip, what: "login", outcome: "refused", details: `${code}: user "${name.slice(0, 64)}"` });
      if (!form) throw error;
      const status = code === "LIMIT_EXCEEDED" ? 429 : code === "FORBIDDEN" ? 403 : 401;
      return reply.code(status).type("text/html; charset=utf-8").header("cache-control", "no-store").send(loginPage(message));
    }
  });

  server.post("/logout", { config: { need: LOOK } }, (request, reply) => {
    logins.logout(request.cookies[SESSION_COOKIE] ?? "");
    reply.clearCookie(SESSION_COOKIE, { path: "/", secure: true });
    reply.clearCookie(CSRF_COOKIE, { path: "/", secure: true });
    return reply.code(204).send();
  });
}

/** Who asks. Throws UNAUTHENTICATED. */
function identified(request: FastifyRequest, membership: Membership): Asker {
  const { authorization } = request.headers;
  if (authorization !== undefined) {
    const row = membership.keys.holder(keyIn(authorization));
    return { ...holderOf(row), who: `key:${row.name}`, session: null };
  }
  const session = sessionOf(request, membership);
  if (session !== null) return { role: session.role, scopes: null, who: `user:${session.name}`, session };
  throw new SyncError({
    code: "UNAUTHENTICATED",
    message: "nobody is logged in",
    action: `Log in at ${LOGIN_PATH}, or send a key from \`scoutsync keys create\` as "authorization: Bearer KEY".`,
  });
}

/** Whether the key or login of a request is one yet. To look is not to use it. */
function mayStill(request: FastifyRequest, { keys, logins }: Membership): boolean {
  const { authorization } = request.headers;
  if (authorization === undefined) return logins.isOpen(request.cookies[SESSION_COOKIE] ?? "");
  try {
    keys.holder(keyIn(authorization));
    return true;
  } catch (error) {
    if (error instanceof SyncError) return false;
    throw error;
  }
}

const keyIn = (authorization: string): string => /^Bearer (\S+)$/i.exec(authorization)?.[1] ?? "";

function sessionOf(request: FastifyRequest, { logins }: Membership): Session | null {
  const token = request.cookies[SESSION_COOKIE];
  return token === undefined ? null : logins.session(token);
}

/** A browser sends its cookies along with what other sites make it send; these cannot send the token. */
function checkIntent(request: FastifyRequest, session: Session): void {
  checkOrigin(request);
  const token = request.headers[CSRF_HEADER];
  if (typeof token === "string" && isToken(token, session.csrfHash)) return;
  throw new SyncError({
    code: "FORBIDDEN",
    message: `a request that changes something needs the session's ${CSRF_HEADER}`,
    action: `Send what the cookie ${CSRF_COOKIE} holds as the header ${CSRF_HEADER}.`,
  });
}

/** Throws FORBIDDEN for what another site had the browser send. */
function checkOrigin({ headers }: FastifyRequest): void {
  const { origin, host } = headers;
  const site = headers["sec-fetch-site"];
  const foreign = site === "cross-site" || site === "same-site";
  if (!foreign && (origin === undefined || origin === `https://${host}`)) return;
  throw new SyncError({
    code: "FORBIDDEN",
    message: "the request comes from another site",
    action: "Use the dashboard of this coordinator.",
  });
}

function wantsPage({ method, headers }: FastifyRequest): boolean {
  return method === "GET" && (headers.accept ?? "").includes("text/html");
}
