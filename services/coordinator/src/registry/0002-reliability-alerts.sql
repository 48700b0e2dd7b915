-- What a node said beside its databases at its last Ping. Disk sizes are NULL when it did not say.
ALTER TABLE sync_servers ADD COLUMN round_trip_ms REAL NOT NULL DEFAULT 0;
ALTER TABLE sync_servers ADD COLUMN disk_free_bytes INTEGER;
ALTER TABLE sync_servers ADD COLUMN disk_total_bytes INTEGER;
ALTER TABLE server_databases ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

CREATE TABLE server_files (
  server_id INTEGER NOT NULL REFERENCES sync_servers(id) ON DELETE CASCADE,
  root TEXT NOT NULL,
  cursor TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (server_id, root)
) WITHOUT ROWID;

-- How often a step of syncing was tried with a node and how often it failed, per hour ('2026-03-01T14') and, once two
-- days have passed, per day ('2026-03-01'), so that years of a large fleet stay small. Durations are seconds.
CREATE TABLE reliability (
  server_id INTEGER NOT NULL REFERENCES sync_servers(id) ON DELETE CASCADE,
  operation TEXT NOT NULL,
  bucket TEXT NOT NULL,
  total INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  duration_s REAL NOT NULL,
  max_duration_s REAL NOT NULL,
  PRIMARY KEY (server_id, operation, bucket)
) WITHOUT ROWID;

-- Errors of a node that are the same but for numbers, names and paths: `pattern` is the message without these, `message`
-- the last one as it was.
CREATE TABLE error_patterns (
  server_id INTEGER NOT NULL REFERENCES sync_servers(id) ON DELETE CASCADE,
  operation TEXT NOT NULL,
  code TEXT NOT NULL,
  pattern TEXT NOT NULL,
  message TEXT NOT NULL,
  count INTEGER NOT NULL,
  first_seen TEXT NOT NULL,
  last_seen TEXT NOT NULL,
  PRIMARY KEY (server_id, operation, code, pattern)
) WITHOUT ROWID;

-- One row per incident: opened once, closed when it is over. `server_id` NULL is the fleet.
CREATE TABLE alerts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  server_id INTEGER,
  server_name TEXT NOT NULL,
  message TEXT NOT NULL,
  since TEXT NOT NULL,
  recovered_at TEXT
);
CREATE UNIQUE INDEX alerts_open ON alerts(kind, coalesce(server_id, 0)) WHERE recovered_at IS NULL;

-- Word of an incident that went out, or that nobody was to get: a channel that is set up later tells nothing old. What is
-- not here is tried again, also after a restart. `phase` is 'raised' or 'recovered'.
CREATE TABLE alert_notices (
  alert_id INTEGER NOT NULL REFERENCES alerts(id) ON DELETE CASCADE,
  channel TEXT NOT NULL,
  phase TEXT NOT NULL,
  sent_at TEXT NOT NULL,
  passed_over INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (alert_id, channel, phase)
) WITHOUT ROWID;

-- What each node lacked over the last day, written when it changes and at most once a minute: for the chart.
CREATE TABLE lag_history (
  server_id INTEGER NOT NULL REFERENCES sync_servers(id) ON DELETE CASCADE,
  time TEXT NOT NULL,
  missing_changes INTEGER NOT NULL,
  oldest_missing_age_s REAL NOT NULL,
  PRIMARY KEY (server_id, time)
) WITHOUT ROWID;

-- A node's own sessions and those it was the source of are looked at together.
CREATE INDEX sync_logs_by_source ON sync_logs(source_id, id);
