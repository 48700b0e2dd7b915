-- Rows that may not be those that somebody meant, as entries of a person's list.
ALTER TABLE server_databases ADD COLUMN notices INTEGER NOT NULL DEFAULT 0;
