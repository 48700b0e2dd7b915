-- What the second version of the metadata adds to the first.

-- Tables that are being compared with what is known of them, after a migration. `shapes` is a JSON list of the shapes
-- (name, columns in order) that stored row hashes may have been made under; `blind` says whether writes may have gone
-- uncaptured. An entry goes when its table has been compared to the end; until then nothing of this database is served.
CREATE TABLE _scoutsync_comparison(tid INTEGER PRIMARY KEY, shapes TEXT NOT NULL, blind INTEGER NOT NULL);

-- Mass deletes of the application that are kept back until a person decides. `since` is when (Unix microseconds);
-- `draining` is 1 while the drain that found it is not through; `deleted` and `inserted` count the events it began with, per
-- table as JSON; `decision` is "release" or "undo" once one was made and is being carried out.
CREATE TABLE _scoutsync_quarantine(id INTEGER PRIMARY KEY, since INTEGER NOT NULL, draining INTEGER NOT NULL, counts TEXT NOT NULL,
  decision TEXT);

-- The rows: for everybody they are in their table as before, only the application's table lacks them. `local` is the packed key
-- in the table, `hash` that of the row when it was kept back, `image` its values, references as identities.
CREATE TABLE _scoutsync_quarantined(tid INTEGER NOT NULL, local BLOB NOT NULL, quarantine INTEGER NOT NULL, hash BLOB NOT NULL,
  image BLOB NOT NULL, PRIMARY KEY(tid, local)) WITHOUT ROWID;
CREATE INDEX _scoutsync_quarantined_by ON _scoutsync_quarantined(quarantine, tid);

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

-- Tables and columns that others have and this database lacks, with the time at which that was noticed (Unix microseconds);
-- `cid` 0 is the table. Rows of a table that is not here are in _scoutsync_out as state 4: every value is in `extra`, as
-- are the values of a single column that a table lacks.
CREATE TABLE _scoutsync_lacking(tid INTEGER NOT NULL, cid INTEGER NOT NULL, since INTEGER NOT NULL, PRIMARY KEY(tid, cid)) WITHOUT ROWID;
CREATE INDEX _scoutsync_out_held ON _scoutsync_out(tid) WHERE state = 4;

-- The name that a catalogued table has for everybody, and its kind of key (1 = surrogate, 2k = natural with k columns):
-- _scoutsync_table has one entry per name and kind, and a name of its own where two kinds share a name.
CREATE TABLE _scoutsync_kind(tid INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER NOT NULL);

-- Origins that were drawn for this database. Whoever has more of one of them than is here has outlived it: the database
-- was restored from a backup, or copied.
CREATE TABLE _scoutsync_own(oid INTEGER PRIMARY KEY);

-- Changes that become visible together elsewhere: those of one drain, which never splits a transaction. The oldest go.
CREATE TABLE _scoutsync_group(n INTEGER PRIMARY KEY, oid INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX _scoutsync_group_last ON _scoutsync_group(oid, last);

-- Copies joined as shared: the origin that names the rows of table `tid` by their keys.
CREATE TABLE _scoutsync_shared(tid INTEGER PRIMARY KEY, oid INTEGER NOT NULL);

-- Origins that hold changes of another one again, under the same sequences: what that one left beyond every vector when
-- it ended for good.
CREATE TABLE _scoutsync_reissue(oid INTEGER PRIMARY KEY, source INTEGER NOT NULL);

-- The floor: up to these sequences deleted rows may have been forgotten here, or where this database was filled from.
CREATE TABLE _scoutsync_floor(oid INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);

-- The floor of a run as it was when its stream, of which _scoutsync_position says how far it is, began here.
CREATE TABLE _scoutsync_stream(run TEXT PRIMARY KEY, floor TEXT NOT NULL) WITHOUT ROWID;

-- The nodes that take part, as far as word of them has come here: what each was last known to have, when it said so (`at`,
-- Unix microseconds, by the clock of whoever heard it), and 1 where it was retired: then nothing is kept for it any more.
CREATE TABLE _scoutsync_member(node_id TEXT PRIMARY KEY, name TEXT NOT NULL, vector TEXT NOT NULL, at INTEGER NOT NULL,
  retired INTEGER NOT NULL) WITHOUT ROWID;

-- Rows that this database still had when it re-joined and that had been deleted and forgotten elsewhere: their last values
-- as JSON, for a person. They are never sent. `at` is Unix microseconds.
CREATE TABLE _scoutsync_gone(n INTEGER PRIMARY KEY, tid INTEGER NOT NULL, key TEXT NOT NULL, image TEXT NOT NULL, at INTEGER NOT NULL);
