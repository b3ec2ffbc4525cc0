-- What judging an event again takes, and what finds entries by how they came to be.

-- What the server was answering to, who handed the mail in, and whether the evidence was open to doubt. Empty in
-- rows of an older version: replay adds nobody for those of a log.
ALTER TABLE event ADD COLUMN command TEXT;
ALTER TABLE event ADD COLUMN sasl_username TEXT;
ALTER TABLE event ADD COLUMN evidence TEXT;

-- What an operation lifted: to be put back when it is undone.
CREATE INDEX change_operation ON change (operation, sequence) WHERE operation IS NOT NULL;
-- Patterns are few among millions of addresses, and asked for when somebody asks why.
CREATE INDEX suppression_pattern ON suppression (id) WHERE SUBSTR(address, 1, 1) = ':';

-- The first id of the time from which on all events that were counted are known. One from before cannot be told from
-- one that was, and so counts as one that was.
CREATE TABLE horizon (
    name  TEXT PRIMARY KEY,
    first BLOB NOT NULL
) STRICT, WITHOUT ROWID;
