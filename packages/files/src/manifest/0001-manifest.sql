-- The manifest of one root: what this node knows about each path, and what it is in the middle of.

-- One line per name: index_id (drawn when the manifest is made), author (in version vectors), seq, digest, root_id, …
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The version that is known of each path. `state` says whether its bytes are in place: 0 they are; 1 wanted (known, to be
-- fetched from whoever has them); 2 left alone by the ignore rules; 3 suspect (other bytes under the same time: wanted, and
-- what is there is not spread); 4 forgotten (left alone once, and not there now: as if it had never been known, but that its
-- version is not given out again); 5 leaving (outside of the part that this node is limited to: goes into the store, silently).
CREATE TABLE entry (
  path TEXT PRIMARY KEY,
  parent TEXT NOT NULL,
  kind TEXT NOT NULL,
  hash TEXT NOT NULL,
  size INTEGER NOT NULL,
  mode INTEGER NOT NULL,
  modified_us INTEGER NOT NULL,
  version TEXT NOT NULL,
  stamp_us INTEGER NOT NULL,
  author TEXT NOT NULL,
  before TEXT NOT NULL,
  cause TEXT NOT NULL,
  losers TEXT NOT NULL,
  -- This node's own order, and the index that the entry came from unchanged ("" = from here).
  seq INTEGER NOT NULL,
  recorded_us INTEGER NOT NULL,
  source TEXT NOT NULL,
  -- The file as it was when its hash was taken: size:mtime:ctime:inode, and whether that was too fresh to tell.
  print TEXT NOT NULL,
  racy INTEGER NOT NULL,
  state INTEGER NOT NULL,
  -- When it was first seen to be missing, Unix microseconds; 0 = it is not.
  missing_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX entry_seq ON entry(seq);
CREATE INDEX entry_parent ON entry(parent);
CREATE INDEX entry_hash ON entry(hash) WHERE kind = 'file';
CREATE INDEX entry_missing ON entry(missing_us) WHERE missing_us > 0;
CREATE INDEX entry_state ON entry(state) WHERE state > 0;
CREATE INDEX entry_losers ON entry(path) WHERE losers <> '[]';

-- Bytes in the store: what was displaced, deleted or lost a conflict, by the name of their file there.
CREATE TABLE object (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL,
  size INTEGER NOT NULL,
  path TEXT NOT NULL,
  why TEXT NOT NULL,
  author TEXT NOT NULL,
  modified_us INTEGER NOT NULL,
  stored_us INTEGER NOT NULL,
  -- As in entry; "" once nobody can write into it any more.
  print TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX object_hash ON object(hash);
CREATE INDEX object_path ON object(path);

-- Steps on disk under way: finished or undone at the next start.
CREATE TABLE journal (
  id TEXT PRIMARY KEY,
  path TEXT NOT NULL,
  -- "place" or "remove"
  step TEXT NOT NULL,
  -- The staged file, "" for a removal; the hash that was expected at the path, "" for nothing there.
  staged TEXT NOT NULL,
  expected TEXT NOT NULL,
  -- The entry to commit, as JSON, and the index it came from.
  entry TEXT NOT NULL,
  source TEXT NOT NULL
) WITHOUT ROWID;

-- How far the list of another manifest has been taken in.
CREATE TABLE received (index_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, heard_us INTEGER NOT NULL) WITHOUT ROWID;

-- What peers sent that was refused, for people.
CREATE TABLE refused (id INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, peer TEXT NOT NULL, what TEXT NOT NULL);
