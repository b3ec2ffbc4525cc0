-- Suppressions for a fleet: strikes, quarantine, streams, domains, patterns, and who did what in bulk.
--
-- What an entry is about stands in `address` as before: `user@example.org`, `@example.org` (a domain),
-- `:*@*.example.org` (a pattern), each with a stream behind a space. A node that knows only addresses goes on
-- working beside this one: it meets the others as addresses that nobody mails.

ALTER TABLE suppression ADD COLUMN provider TEXT;
ALTER TABLE suppression ADD COLUMN standing TEXT NOT NULL DEFAULT 'in_force';
ALTER TABLE suppression ADD COLUMN term INTEGER NOT NULL DEFAULT 1;
ALTER TABLE suppression ADD COLUMN operation INTEGER;

-- Failures that suppress only when they come again: at most one a day for a subject and a cause. day counts days
-- since the epoch (UTC).
CREATE TABLE strike (
    subject TEXT   NOT NULL,
    cause   TEXT   NOT NULL,
    day     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    event   BLOB,
    PRIMARY KEY (subject, cause, day)
) STRICT, WITHOUT ROWID;

-- How many recipients a provider or a domain answered for in an hour, and how many of them it called dead. kind:
-- provider, domain. hour counts hours since the epoch.
CREATE TABLE census (
    kind    TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    hour    INTEGER NOT NULL,
    answers INTEGER NOT NULL,
    faults  INTEGER NOT NULL,
    PRIMARY KEY (kind, name, hour)
) STRICT, WITHOUT ROWID;

-- Times at which one called far more recipients dead than it used to.
CREATE TABLE incident (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT   NOT NULL,
    name     TEXT   NOT NULL,
    began    INTEGER NOT NULL,
    ended    INTEGER,
    answers  INTEGER NOT NULL,
    faults   INTEGER NOT NULL,
    baseline REAL NOT NULL,
    note     TEXT   NOT NULL
) STRICT;
-- At most one at a time.
CREATE UNIQUE INDEX incident_open ON incident (kind, name) WHERE ended IS NULL;

-- What people did to many entries at once: imports, undo, replay, forgetting.
CREATE TABLE operation (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    author TEXT   NOT NULL,
    reason TEXT   NOT NULL,
    what   TEXT   NOT NULL
) STRICT;

ALTER TABLE change ADD COLUMN operation INTEGER;
CREATE INDEX change_address ON change (address, sequence) WHERE address <> '';

-- Changes up to here were cleared away: who stands below reads everything anew.
ALTER TABLE feed ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
