import { join } from "node:path";
import { termsOfScope, type ScopeCarried, type ScopeRule, type ScopeTable } from "../src/index.ts";
import { Site, type SiteOptions, testFolder } from "./site.ts";

/** A table of a scope, all of it unless said otherwise. */
export const all = (table: string, over: Partial<ScopeTable> = {}): ScopeTable => ({
  table,
  where: [],
  columns: null,
  follow: false,
  ...over,
});
/** The copy of a scope at its server. */
export const copyOf = (server: Site, rule: ScopeRule, options: SiteOptions = {}): Site => {
  const { rules = [], exclude = [], triggers } = server.options;
  return new Site(server.name, "", {
    ...options,
    path: join(testFolder(), "copy.db"),
    quarantine: null,
    rules: termsOfScope(rule, rules),
    scope: { rule, main: server.path, exclude, rules, triggers },
  });
};
/** Passes until both sides are in line. */
export function carry(server: Site, copy: Site): ScopeCarried {
  server.replica.drain();
  let done = copy.replica.carryScope();
  for (let again = 0; !done.complete && again < 5; again++) {
    server.replica.drain();
    done = copy.replica.carryScope();
  }
  server.replica.drain();
  return done;
}

/** A pass whose process is killed when the database has committed and the copy has not. */
export function crash(server: Site, copy: Site): ScopeCarried {
  let before = "";
  server.replica.drain();
  const done = copy.replica.carryScope(false, () => (before = copy.backup()));
  copy.replaceFile(before);
  server.replica.drain();
  return done;
}
