-- What waits for a person on a node beside conflicts and parked rows, as it said last.
ALTER TABLE server_databases ADD COLUMN kept_back INTEGER NOT NULL DEFAULT 0;
-- Open conflicts of a file root, files that are missing without being known to be deleted, whether that many are missing that
-- their delete is kept back (1), and why the root cannot take part; empty when it can.
ALTER TABLE server_files ADD COLUMN conflicts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE server_files ADD COLUMN missing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE server_files ADD COLUMN held_back INTEGER NOT NULL DEFAULT 0;
ALTER TABLE server_files ADD COLUMN problem TEXT NOT NULL DEFAULT '';
