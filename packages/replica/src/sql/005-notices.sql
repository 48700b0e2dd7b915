-- What the fifth version of the metadata adds to the fourth.

-- Rows that may not be those that somebody means, for a person at this node (see audit/notices.ts); never sent. A row is named
-- by the dot of its birth. `cid` 0: it lives on as a new row since this database joined again. Otherwise it was written here and
-- refers in that column to the integer `id`, which another row, `meant`, had here until a sync. `at` is Unix microseconds.
CREATE TABLE _scoutsync_notice(oid INTEGER NOT NULL, sequence INTEGER NOT NULL, cid INTEGER NOT NULL, id INTEGER, meant_oid INTEGER,
  meant_sequence INTEGER, at INTEGER NOT NULL, PRIMARY KEY(oid, sequence, cid)) WITHOUT ROWID;
