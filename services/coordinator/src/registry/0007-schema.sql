-- Stands for the tables and columns that the digest of a database is of: digests of different ones say nothing.
ALTER TABLE server_databases ADD COLUMN schema TEXT NOT NULL DEFAULT '';
-- What others have in a root and the node leaves alone for its size, in words; how many times it has refused something of a peer
-- there, when it last did (ISO 8601, empty = never), of whom, and what.
ALTER TABLE server_files ADD COLUMN too_large TEXT NOT NULL DEFAULT '';
ALTER TABLE server_files ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE server_files ADD COLUMN last_refused TEXT NOT NULL DEFAULT '';
ALTER TABLE server_files ADD COLUMN refused_peer TEXT NOT NULL DEFAULT '';
ALTER TABLE server_files ADD COLUMN refused_what TEXT NOT NULL DEFAULT '';
