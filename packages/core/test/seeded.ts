import fc from "fast-check";

// The same cases on every run; SCOUTSYNC_SEED=n draws others. A failing property prints its seed.
fc.configureGlobal({ seed: Number(process.env["SCOUTSYNC_SEED"] ?? 1) });

export { fc };
