/** Our environment without what a test runner or a person's own configuration would change in the programs we start. */
export function childEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS|VITEST|NODE_V8_COVERAGE|SCOUTSYNC_)/.test(name)),
  );
}

/**
 * The seed of this run: SCOUTSYNC_SEED to repeat one, else a new one. In CI the same one every time, so that a red run is one of the
 * change that it is of. Print it.
 */
export function chooseSeed(): number {
  const given = Number(process.env["SCOUTSYNC_SEED"]);
  if (Number.isSafeInteger(given) && given > 0) return given;
  return process.env["CI"] === "true" ? 1 : Date.now() % 2_147_483_647;
}
