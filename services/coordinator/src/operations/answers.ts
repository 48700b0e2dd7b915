import type { z } from "zod";
import type * as shapes from "./shapes.ts";

// What operations answer, for whoever asks from outside.

export type Fleet = z.output<typeof shapes.FleetShape>;
export type FleetNode = z.output<typeof shapes.NodeShape>;
export type NodeDetail = z.output<typeof shapes.NodeDetailShape>;
export type FoundNode = z.output<typeof shapes.FoundNodeShape>;
export type SyncOutcome = z.output<typeof shapes.SyncOutcomeShape>;
export type Scan = z.output<typeof shapes.ScanShape>;
export type Job = z.output<typeof shapes.JobShape>;
export type JobCounts = z.output<typeof shapes.JobCountsShape>;
export type LogPage = z.output<typeof shapes.LogPageShape>;
export type Alert = z.output<typeof shapes.AlertShape>;
export type Reliability = z.output<typeof shapes.ReliabilityShape>;
export type Cleanup = z.output<typeof shapes.CleanupShape>;
export type Setting = z.output<typeof shapes.SettingShape>;
export type ReviewList = z.output<typeof shapes.ReviewListShape>;
