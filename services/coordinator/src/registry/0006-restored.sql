-- Databases that were restored from a backup and have not fetched from another node since.
ALTER TABLE server_databases ADD COLUMN restored INTEGER NOT NULL DEFAULT 0;
-- Versions of files that a root knows and whose bytes are not there.
ALTER TABLE server_files ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;
