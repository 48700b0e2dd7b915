-- Keys of programs: only their hashes.
CREATE TABLE api_keys (
  name TEXT PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'superadmin')),
  -- JSON list; empty = everything the role may do.
  scopes TEXT NOT NULL DEFAULT '[]',
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  last_used_at TEXT,
  revoked_at TEXT
) STRICT;

-- People who may log in to the dashboard: scrypt with a salt each.
CREATE TABLE users (
  name TEXT PRIMARY KEY,
  password TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'superadmin')),
  created_at TEXT NOT NULL
) STRICT;
