-- The coordinator's memory. Everything in Redis can be rebuilt from these tables; nothing here comes from Redis.
-- Times are ISO 8601 UTC text with milliseconds, so that they sort as text and people can read them.

-- One row per sync-node of the fleet. Read by people and existing admin screens; `sync_enabled` may be written by
-- them while the coordinator runs. A row may also be inserted by hand with name, host and port only: the first
-- successful Ping fills in the rest. `id` is never used twice, because logs outlive their node.
-- `node_id` is the node's own identity; the address beside it may change, the identity does not.
-- `last_sync` moves only after a verified session. `last_ping` is the last time the coordinator asked,
-- `ping_success` how that went, `last_seen` the last sign of life in either direction.
-- `missing_changes` and `oldest_missing_age_s` are what the others hold and this node lacks, as last counted.
-- `failures` counts failed sessions in a row; `epoch` is the fencing number of the node's latest session.
CREATE TABLE sync_servers (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  host TEXT NOT NULL,
  port INTEGER NOT NULL,
  sync_enabled INTEGER NOT NULL DEFAULT 1,
  last_sync TEXT,
  last_ping TEXT,
  ping_success INTEGER NOT NULL DEFAULT 0,
  node_id TEXT UNIQUE,
  version TEXT NOT NULL DEFAULT '',
  run TEXT NOT NULL DEFAULT '',
  missing_changes INTEGER NOT NULL DEFAULT 0,
  oldest_missing_age_s REAL NOT NULL DEFAULT 0,
  clock_offset_ms REAL NOT NULL DEFAULT 0,
  last_error TEXT NOT NULL DEFAULT '',
  last_seen TEXT,
  failures INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER NOT NULL DEFAULT 0,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

-- What each node last said about each of its databases, so that a restarted coordinator, and the row of a node that
-- is away, still know how far everyone was. Replaced as a whole whenever the node speaks.
CREATE TABLE server_databases (
  server_id INTEGER NOT NULL REFERENCES sync_servers(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  vector TEXT NOT NULL,
  digest TEXT NOT NULL,
  pending INTEGER NOT NULL,
  parked INTEGER NOT NULL,
  conflicts INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  tables TEXT NOT NULL,
  problem TEXT NOT NULL,
  PRIMARY KEY (server_id, name)
) WITHOUT ROWID;

-- One row per attempt to bring a node up to date: written when the attempt starts, closed when it ends, never twice.
-- `details` is JSON text that says what moved, or why nothing did. `source_id` is the node it was done with.
-- No foreign key: the history of a removed node stays.
CREATE TABLE sync_logs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  server_id INTEGER NOT NULL,
  operation TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'in_progress', 'completed', 'failed')),
  details TEXT NOT NULL DEFAULT '{}',
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  completed_at TEXT,
  source_id INTEGER,
  worker TEXT NOT NULL DEFAULT ''
);
CREATE INDEX sync_logs_by_server ON sync_logs(server_id, id);
CREATE INDEX sync_logs_open ON sync_logs(id) WHERE status IN ('pending', 'in_progress');

-- Fleet settings that somebody set; a key that is not here has its default from the code.
CREATE TABLE sync_config (
  key TEXT NOT NULL UNIQUE,
  value TEXT NOT NULL,
  value_type TEXT NOT NULL DEFAULT 'string'
);

-- The right to run a session, held by a worker until `expires_at` unless it renews it. The epoch travels with the
-- session: a node refuses one that is lower than the highest it has seen, so a worker that was frozen past its lease
-- does no harm when it wakes.
CREATE TABLE leases (
  lease_id TEXT PRIMARY KEY,
  server_id INTEGER NOT NULL,
  source_id INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  worker TEXT NOT NULL,
  log_id INTEGER NOT NULL,
  acquired_at TEXT NOT NULL,
  expires_at TEXT NOT NULL
) WITHOUT ROWID;

-- Both ends of every leased session. The primary key is what makes "one session per node at a time" true.
CREATE TABLE lease_members (
  server_id INTEGER PRIMARY KEY,
  lease_id TEXT NOT NULL REFERENCES leases(lease_id) ON DELETE CASCADE
);

-- Small facts that must survive a restart, such as since when the fleet has been equal.
CREATE TABLE coordinator_state (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
