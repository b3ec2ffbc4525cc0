-- Proof: what a report is known to be real by, or why it proves nothing; and whom signed messages went to.

ALTER TABLE event ADD COLUMN proof TEXT;

-- The messages that left with a signed return path, by what their token is known by: the application's own return path,
-- and whom they went to.
CREATE TABLE signed (
    identity BLOB    NOT NULL,
    mailed   TEXT    NOT NULL,
    sender   TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (identity, mailed)
) STRICT, WITHOUT ROWID;
