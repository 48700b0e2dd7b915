-- People who have logged in: hashes of the session's token and of what has to come with whatever changes something.
CREATE TABLE logins (
  hash TEXT PRIMARY KEY,
  csrf_hash TEXT NOT NULL,
  name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
  -- Unix milliseconds.
  ends_ms INTEGER NOT NULL,
  idle_ms INTEGER NOT NULL
) STRICT;
