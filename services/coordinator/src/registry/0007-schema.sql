-- Stands for the tables and columns that the digest of a database is of: digests of different ones say nothing.
ALTER TABLE server_databases ADD COLUMN schema TEXT NOT NULL DEFAULT '';
