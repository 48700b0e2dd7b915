-- What the third version of the metadata adds to the second.

-- Rows decided to be one entity, pairs of identities both ways round: the facts are in the rows, this is how they are
-- found. `due` = 1: both live and do not share a UNIQUE value any more, so that the end of a stream has to say they are two.
CREATE TABLE _scoutsync_same(oid INTEGER NOT NULL, sequence INTEGER NOT NULL, other_oid INTEGER NOT NULL,
  other_sequence INTEGER NOT NULL, due INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(oid, sequence, other_oid, other_sequence)) WITHOUT ROWID;
CREATE INDEX _scoutsync_same_due ON _scoutsync_same(due) WHERE due = 1;

-- Of such rows one is in the table; the others are in _scoutsync_out as state 3, with the identity of that one where rows
-- can refer to them, and their number of values that are not shown as `open`.
CREATE INDEX _scoutsync_out_joined ON _scoutsync_out(tid) WHERE state = 3;

-- Integers that another row (`oid`, `sequence`) had here until a sync moved it or took it out of its table, at `at` (Unix
-- microseconds): the application may still mean that row. `image` is what the row that has the integer now (`holder_…`) holds,
-- as (column number, value) pairs; NULL before there is one.
CREATE TABLE _scoutsync_former(tid INTEGER NOT NULL, id INTEGER NOT NULL, at INTEGER NOT NULL, oid INTEGER NOT NULL,
  sequence INTEGER NOT NULL, holder_oid INTEGER, holder_sequence INTEGER, image BLOB, PRIMARY KEY(tid, id)) WITHOUT ROWID;
