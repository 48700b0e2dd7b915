/** Every RPC once, as a person at a shell would call it, and what the answer must contain. */
export interface InteropCall {
  /** `SyncNode/Ping`. */
  method: string;
  body: string;
  expected: RegExp;
  /** Streams until told otherwise: the caller cuts it after this long. */
  endless?: boolean;
}

/** Calls of a node that holds database `app` with rows in `note`, and `hello.txt` in file root `uploads`; `peer` is another node. */
export function nodeCalls(peer: string): InteropCall[] {
  return [
    { method: "SyncNode/Ping", body: "{}", expected: /"name":\s*"a"/ },
    { method: "SyncNode/GetChanges", body: '{"database":"app","readable":true,"limit":5}', expected: /"text":\s*"first note"/ },
    { method: "SyncNode/GetChanges", body: '{"database":"app","count_only":true}', expected: /"changes":\s*"?2"?/ },
    { method: "SyncNode/PushChanges", body: '{"open":{"database":"app","protocol":1,"name":"shell","run":"shell"}}', expected: /"ready":/ },
    { method: "SyncNode/Digest", body: '{"database":"app"}', expected: /"table":\s*"note"/ },
    { method: "SyncNode/CheckCapture", body: '{"database":"app"}', expected: /"cursor":/ },
    { method: "SyncNode/Sync", body: `{"peer":"${peer}"}`, expected: /"success":\s*true/ },
    { method: "SyncNode/Verify", body: `{"peer":"${peer}"}`, expected: /"equal":\s*true/ },
    { method: "SyncNode/ListReviews", body: "{}", expected: /^\s*\{[\s\S]*\}\s*$/ },
    { method: "SyncNode/ResolveReview", body: '{"id":"nothing","keep":"winner"}', expected: /nothing/ },
    { method: "SyncNode/RestoreRow", body: '{"database":"app","table":"note","key":"1"}', expected: /has a row 1/ },
    { method: "SyncNode/Reissue", body: '{"database":"app"}', expected: /^\s*\{[\s\S]*\}\s*$/ },
    { method: "SyncNode/ListKnownNodes", body: '{"database":"app"}', expected: /"name":\s*"a"/ },
    { method: "SyncNode/RetireKnownNode", body: '{"database":"app","node":"nobody"}', expected: /nobody/ },
    { method: "SyncNode/Forget", body: '{"database":"app","dry_run":true}', expected: /"complete":\s*true/ },
    { method: "SyncNode/FileChecksums", body: '{"root":"uploads","catchup_mode":true}', expected: /"path":\s*"hello.txt"/ },
    { method: "SyncNode/GetFile", body: '{"root":"uploads","path":"hello.txt"}', expected: /"chunk":\s*"aGVsbG8="/ },
    {
      method: "SyncNode/PutFile",
      body: '{"open":{"root":"uploads","protocol":1,"name":"shell","index":"abcdefghijklmnop"}}',
      expected: /"ready":/,
    },
    { method: "SyncNode/ListFiles", body: '{"root":"uploads"}', expected: /"state":\s*"here"/ },
    { method: "SyncNode/FileStatus", body: "{}", expected: /"root":\s*"uploads"/ },
    { method: "SyncNode/ForgetFiles", body: '{"dry_run":true}', expected: /"root":\s*"uploads"/ },
    { method: "SyncNode/RestoreFile", body: '{"root":"uploads","path":"nothing.txt"}', expected: /no earlier version/ },
    { method: "SyncNode/GetHistory", body: '{"database":"app","table":"note","key":"1"}', expected: /"operation":\s*"insert"/ },
  ];
}

/** Calls of a coordinator that nobody else uses. */
export function coordinatorCalls(node: string): InteropCall[] {
  const [host, port] = node.split(":");
  return [
    { method: "Coordinator/AddNode", body: `{"name":"by-hand","host":"${host}","port":${port}}`, expected: /"name":\s*"by-hand"/ },
    { method: "Coordinator/ListNodes", body: "{}", expected: /"by-hand"/ },
    { method: "Coordinator/Register", body: `{"node_id":"interop-1","name":"registered","host":"${host}","port":1}`, expected: /"id":/ },
    { method: "Coordinator/Heartbeat", body: '{"node_id":"nobody"}', expected: /"unknown":\s*true/ },
    { method: "Coordinator/GetStatus", body: "{}", expected: /"nodes":/ },
    { method: "Coordinator/Scan", body: '{"no_wait":true}', expected: /"message":/ },
    { method: "Coordinator/CatchUp", body: '{"node":"no-such-node"}', expected: /no-such-node/ },
    { method: "Coordinator/ListLogs", body: '{"limit":5}', expected: /^\s*\{[\s\S]*\}\s*$/ },
    { method: "Coordinator/ListJobs", body: '{"limit":5}', expected: /^\s*\{[\s\S]*\}\s*$/ },
    { method: "Coordinator/GetSettings", body: "{}", expected: /"catchup_enabled"/ },
    { method: "Coordinator/SetSetting", body: '{"key":"catchup_check_interval","value":"120"}', expected: /"120"/ },
    { method: "Coordinator/AcquireLease", body: '{"server_id":"999999","worker":"shell"}', expected: /[\s\S]/ },
    { method: "Coordinator/ReportSession", body: '{"lease_id":"none"}', expected: /"lost":\s*true/ },
    { method: "Coordinator/Watch", body: "{}", expected: /"kind":/, endless: true },
    { method: "Coordinator/PauseNode", body: '{"node":"by-hand"}', expected: /"state":\s*"paused"/ },
    { method: "Coordinator/ResumeNode", body: '{"node":"by-hand"}', expected: /"by-hand"/ },
    { method: "Coordinator/RetryJob", body: '{"id":"no-such-job"}', expected: /no-such-job/ },
    { method: "Coordinator/CancelJob", body: '{"id":"no-such-job"}', expected: /no-such-job/ },
    { method: "Coordinator/PauseJobs", body: "{}", expected: /"paused":\s*true/ },
    { method: "Coordinator/ResumeJobs", body: "{}", expected: /"counts":/ },
    { method: "Coordinator/GetReliability", body: '{"node":"by-hand"}', expected: /"operation":\s*"fetch_changes"/ },
    { method: "Coordinator/Cleanup", body: '{"dry_run":true}', expected: /"dry_?[rR]un":\s*true/ },
    { method: "Coordinator/ListAlerts", body: "{}", expected: /^\s*\{[\s\S]*\}\s*$/ },
    { method: "Coordinator/ListFleetReviews", body: "{}", expected: /^\s*\{[\s\S]*\}\s*$/ },
    { method: "Coordinator/ResolveFleetReview", body: '{"node":"no-such-node","id":"x","keep":"winner"}', expected: /no-such-node/ },
    { method: "Coordinator/Ask", body: '{"operation":"listLogs","input":{"page_size":3}}', expected: /"page_size":\s*3/ },
    { method: "Coordinator/RetireNode", body: '{"node":"no-such-node"}', expected: /no-such-node/ },
    { method: "Coordinator/RemoveNode", body: '{"node":"registered"}', expected: /^\s*\{\s*\}\s*$/ },
  ];
}

/** The RPCs of the wire contract, `SyncNode/Ping` and so on, from the proto files' text. */
export function methodsOf(proto: string, service: string): string[] {
  return [...proto.matchAll(/^\s*rpc (\w+)\(/gm)].map((match) => `${service}/${match[1] ?? ""}`);
}
