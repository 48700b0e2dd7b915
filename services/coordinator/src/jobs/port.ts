import type { AcquireLeaseRequest, AcquireLeaseResponse, ReportSessionRequest, ReportSessionResponse } from "@scoutsync/protocol";

/** What a worker needs of the coordinator: in its own process directly, from elsewhere by gRPC. */
export interface CoordinatorPort {
  acquireLease(request: AcquireLeaseRequest): Promise<AcquireLeaseResponse>;
  reportSession(request: ReportSessionRequest): Promise<ReportSessionResponse>;
  /** Milliseconds until a session must have given its first sign of life. */
  sessionStartTimeoutMs(): Promise<number>;
}
