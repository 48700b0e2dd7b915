/** What a session moved, counted batch by batch, so that it is right for one that broke off too. */
export interface SessionStats {
  localChangesSent: number;
  remoteChangesReceived: number;
  remoteChangesApplied: number;
  conflicts: number;
  parked: number;
  /** Rows that differed though both sides knew the same changes, and were merged. */
  rowsRepaired: number;
  filesUploaded: number;
  filesDownloaded: number;
  /** Payloads as transmitted. */
  bytesSent: number;
  bytesReceived: number;
}

export function emptyStats(): SessionStats {
  return {
    localChangesSent: 0,
    remoteChangesReceived: 0,
    remoteChangesApplied: 0,
    conflicts: 0,
    parked: 0,
    rowsRepaired: 0,
    filesUploaded: 0,
    filesDownloaded: 0,
    bytesSent: 0,
    bytesReceived: 0,
  };
}
