-- Proof: what a report is known to be real by, or why it proves nothing; and whom signed messages went to.

ALTER TABLE event ADD COLUMN proof TEXT;

-- The messages that left with a signed return path, by what their token is known by: the application's own return path,
-- and whom they went to.
CREATE TABLE signed (
    identity BYTEA  NOT NULL,
    mailed   TEXT   NOT NULL,
    sender   TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (identity, mailed)
);
-- Like sent: it grows, and is let go of in small batches.
ALTER TABLE signed SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);
