-- What the fourth version of the metadata adds to the third.

-- What this database took from the nodes of a scope in the last pass that wrote to it (see scope/taken.ts): `row` numbers the
-- rows in the order of the pass, `place` is a column of the scope's copy, or below 0 what else is known of the row.
CREATE TABLE _scoutsync_scope_taken(scope TEXT NOT NULL, row INTEGER NOT NULL, place INTEGER NOT NULL, value,
  PRIMARY KEY(scope, row, place)) WITHOUT ROWID;
