-- What the fifth version of the metadata adds to the fourth.

-- Rows that may not be those that somebody means, for a person at this node (see audit/notices.ts); never sent. A row is named
-- by the dot of its birth. `cid` 0: it lives on as a new row since this database joined again. Otherwise it was written here and
-- refers in that column to the integer `id`, which another row, `meant`, had here until a sync. `at` is Unix microseconds.
CREATE TABLE _scoutsync_notice(oid INTEGER NOT NULL, sequence INTEGER NOT NULL, cid INTEGER NOT NULL, id INTEGER, meant_oid INTEGER,
  meant_sequence INTEGER, at INTEGER NOT NULL, PRIMARY KEY(oid, sequence, cid)) WITHOUT ROWID;

-- Under which integers this database refers to rows of another one of the node (see linked/linked-rows.ts). `target` is
-- DATABASE.TABLE; (oid, sequence) names the row; oid 0: the integer `id`, which is also the sequence, named nobody when it was
-- written. state 1: the row has that integer. 2: it is not known under which one it is there, so `id` names nobody.
-- 3: another row, which has the integer, stands for it.
CREATE TABLE _scoutsync_linked(target TEXT NOT NULL, oid INTEGER NOT NULL, sequence INTEGER NOT NULL, id INTEGER NOT NULL,
  state INTEGER NOT NULL, PRIMARY KEY(target, oid, sequence)) WITHOUT ROWID;
