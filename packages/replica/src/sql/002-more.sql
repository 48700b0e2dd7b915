-- What the second version of the metadata adds to the first.

-- Receipts: what other nodes said they have, for whoever wants to know whether a write has reached them.
-- `vector` is a node's last word as text; `has` the number of the last write of this replica's application that it covers,
-- `until` the time up to which all of them are (Unix milliseconds); `at` when the word changed (Unix microseconds).
CREATE TABLE _scoutsync_peer(node_id TEXT PRIMARY KEY, name TEXT NOT NULL, vector TEXT NOT NULL, has INTEGER NOT NULL,
  until INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;

-- The application's writes are numbered in the order of the dirty list: `base` counts those before the list as it is now.
CREATE TABLE _scoutsync_written(base INTEGER NOT NULL);
INSERT INTO _scoutsync_written(base) VALUES(0);

-- After a drain: the writes up to number `write`, made before `until` (Unix milliseconds), are in the changes of this
-- replica up to the dot. The oldest go.
CREATE TABLE _scoutsync_drained(id INTEGER PRIMARY KEY, write INTEGER NOT NULL, oid INTEGER NOT NULL, sequence INTEGER NOT NULL,
  until INTEGER NOT NULL);

-- For the application: the number of the last write, its own included when asked in the same transaction, and up to
-- which one each node has them all.
CREATE VIEW _scoutsync_last_write AS
  SELECT base + (SELECT ifnull(max(n), 0) FROM _scoutsync_capture) AS write FROM _scoutsync_written;
CREATE VIEW _scoutsync_receipts AS
  SELECT name AS peer, node_id, has AS has_up_to, strftime('%Y-%m-%dT%H:%M:%fZ', until / 1000.0, 'unixepoch') AS has_until,
    strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000000.0, 'unixepoch') AS said_at FROM _scoutsync_peer;
