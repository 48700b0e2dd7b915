-- What a replica knows, in the same file as the rows it knows it of: one transaction covers both.
-- The application's own SQLite library parses this schema, so nothing here is newer than SQLite 3.24 and no table is STRICT.

-- Single facts: version of this schema, identity of the replica, state of the attachment.
CREATE TABLE _scoutsync_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;

-- Authors. `oid` is the local number used everywhere else; `author` is the name of the node the origin ran on.
CREATE TABLE _scoutsync_origin(oid INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, author TEXT NOT NULL);

-- The version vector: everything of `oid` up to `sequence` is known and nothing beyond is missing.
CREATE TABLE _scoutsync_vector(oid INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);

-- Vectors that authors knew when they wrote, packed as (oid, sequence) pairs; many writes share one.
CREATE TABLE _scoutsync_context(context INTEGER PRIMARY KEY, entries BLOB NOT NULL UNIQUE);

-- How far the stream of a peer's run has been applied beyond the vector.
CREATE TABLE _scoutsync_position(run TEXT PRIMARY KEY, vector TEXT NOT NULL) WITHOUT ROWID;

-- Tables that take part, and their columns. Numbers are never given to another name.
CREATE TABLE _scoutsync_table(tid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, surrogate INTEGER NOT NULL);
CREATE TABLE _scoutsync_column(cid INTEGER PRIMARY KEY, tid INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE(tid, name));

-- The change log: one entry per dot that still owns something. `tid` > 0: the row has number `slot` in
-- _scoutsync_rows_<tid>; `tid` < 0: it is out of table -tid, number `slot` in _scoutsync_out.
-- For surrogate keys the birth's entry is also how an identity is found.
CREATE TABLE _scoutsync_log(oid INTEGER NOT NULL, sequence INTEGER NOT NULL, tid INTEGER NOT NULL, slot INTEGER NOT NULL,
  PRIMARY KEY(oid, sequence)) WITHOUT ROWID;

-- Identities whose birth is owned by another dot than the one that names the row.
CREATE TABLE _scoutsync_alias(oid INTEGER NOT NULL, sequence INTEGER NOT NULL, birth_oid INTEGER NOT NULL,
  birth_sequence INTEGER NOT NULL, PRIMARY KEY(oid, sequence)) WITHOUT ROWID;

-- Rows that are not in their table: deleted ones with their last image (state 1), and live ones that wait for a
-- place (state 2) with the reason and, where it is a row, the identity of what they wait for.
CREATE TABLE _scoutsync_out(slot INTEGER PRIMARY KEY, tid INTEGER NOT NULL, state INTEGER NOT NULL, key BLOB, id INTEGER,
  oid INTEGER NOT NULL, sequence INTEGER NOT NULL, time INTEGER NOT NULL, context INTEGER NOT NULL, open INTEGER,
  extra BLOB, image BLOB NOT NULL, reason TEXT, blocker_oid INTEGER, blocker_sequence INTEGER);
CREATE INDEX _scoutsync_out_key ON _scoutsync_out(tid, key) WHERE key IS NOT NULL;
CREATE INDEX _scoutsync_out_id ON _scoutsync_out(tid, id) WHERE id IS NOT NULL;
CREATE INDEX _scoutsync_out_waiting ON _scoutsync_out(tid) WHERE state = 2;
CREATE INDEX _scoutsync_out_blocker ON _scoutsync_out(blocker_oid, blocker_sequence) WHERE blocker_oid IS NOT NULL;
CREATE INDEX _scoutsync_out_open ON _scoutsync_out(open) WHERE open IS NOT NULL;

-- Deleted rows that stay in their table because a row that its author could not know of refers to them: their births.
CREATE TABLE _scoutsync_kept(oid INTEGER NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY(oid, sequence)) WITHOUT ROWID;

-- Sums of row hashes modulo 2^128 per table and bucket (the first byte of the hash).
CREATE TABLE _scoutsync_digest(tid INTEGER NOT NULL, bucket INTEGER NOT NULL, rows INTEGER NOT NULL, sum BLOB NOT NULL,
  PRIMARY KEY(tid, bucket)) WITHOUT ROWID;

-- Holds a row only inside a transaction that applies changes of others: capture is silent then. No one else ever sees it.
CREATE TABLE _scoutsync_applying(flag);
