-- The loop: what happened, what was decided, how far everybody has read.
--
-- All times are INTEGER microseconds since the Unix epoch. Ids and marks are 16 octets. Texts hold no NUL.
-- The Postgres schema beside this one has the same tables and columns.

-- Every event that was ever counted, so that none is counted twice. The first six octets of an id are
-- its time in milliseconds: inserts append, and a span of time is a span of keys.
CREATE TABLE seen (
    id BLOB  PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Marks of messages that left, by which a report about one is known to be real.
CREATE TABLE sent (
    mark BLOB   PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Reports that would have suppressed, had their message been seen to leave: what they are about, by the
-- same marks. When it is seen, they do.
CREATE TABLE unproven (
    mark  BLOB NOT NULL,
    event BLOB NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (mark, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX unproven_event ON unproven (event);

-- The event that told a final failure first. Its own table, not an index on event: the primary key makes
-- two transactions that tell the same failure at the same time wait for each other.
CREATE TABLE failure (
    mark  BLOB   PRIMARY KEY,
    event BLOB   NOT NULL,
    at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Failures, deferrals and complaints. Deliveries and echoes are only counted, in tally.
CREATE TABLE event (
    id              BLOB    PRIMARY KEY,
    at              INTEGER NOT NULL,
    received_at     INTEGER NOT NULL,
    source          TEXT    NOT NULL,
    outcome         TEXT    NOT NULL,
    recipient       TEXT    NOT NULL,
    mailed          TEXT    NOT NULL,
    sender          TEXT,
    queue_id        TEXT,
    message_id      TEXT,
    envelope_id     TEXT,
    relay_host      TEXT,
    relay_ip        TEXT,
    provider        TEXT,
    egress          TEXT,
    code            INTEGER,
    status          TEXT,
    reported_status TEXT,
    reply           TEXT    NOT NULL,
    rule            TEXT    NOT NULL,
    cause           TEXT    NOT NULL,
    sub_cause       TEXT,
    scope           TEXT    NOT NULL,
    permanent       INTEGER NOT NULL,
    remedy          TEXT    NOT NULL,
    trust           TEXT    NOT NULL,
    repeat_of       BLOB,
    failure         BLOB,
    return_path     TEXT,
    reporting_mta   TEXT
) STRICT;
CREATE INDEX event_mailed ON event (mailed, at);

-- Everything that was counted. An empty provider or egress: no remote server was involved.
CREATE TABLE tally (
    minute        INTEGER NOT NULL,
    provider      TEXT   NOT NULL,
    egress        TEXT   NOT NULL,
    sender_domain TEXT   NOT NULL,
    outcome       TEXT   NOT NULL,
    n             INTEGER NOT NULL,
    PRIMARY KEY (minute, provider, egress, sender_domain, outcome)
) STRICT, WITHOUT ROWID;

-- Running totals, so that a look at the state reads a few rows and not the history.
CREATE TABLE total (
    kind TEXT   NOT NULL,
    name TEXT   NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE suppression (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT   NOT NULL UNIQUE CHECK (address <> ''),
    cause   TEXT   NOT NULL,
    since   INTEGER NOT NULL,
    expires INTEGER,
    author  TEXT   NOT NULL,
    reason  TEXT   NOT NULL,
    event   BLOB
) STRICT;

-- The number of the last change. Its one row is locked from the moment a transaction takes its numbers
-- until it commits: numbers appear in the order of commits, without gaps.
CREATE TABLE feed (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL
) STRICT;
INSERT INTO feed (id, sequence) VALUES (1, 0);

CREATE TABLE change (
    sequence    INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    author      TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    suppression INTEGER NOT NULL,
    address     TEXT   NOT NULL,
    cause       TEXT   NOT NULL,
    since       INTEGER NOT NULL,
    expires     INTEGER
) STRICT;

CREATE TABLE lane (
    provider TEXT   NOT NULL,
    egress   TEXT   NOT NULL,
    state    TEXT   NOT NULL,
    until    INTEGER,
    repeats  INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    rule     TEXT,
    reply    TEXT,
    hold     INTEGER,
    signals  INTEGER NOT NULL,
    PRIMARY KEY (provider, egress)
) STRICT, WITHOUT ROWID;

-- The provider that a domain's mail went to.
CREATE TABLE domain (
    name     TEXT PRIMARY KEY,
    provider TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Messages from which no event could be read.
CREATE TABLE unread (
    id        BLOB   PRIMARY KEY,
    at        INTEGER NOT NULL,
    intake    TEXT   NOT NULL,
    sender    TEXT,
    recipient TEXT,
    reason    TEXT   NOT NULL,
    content   BLOB   NOT NULL
) STRICT;

-- How far each intake has read.
CREATE TABLE position (
    intake  TEXT   PRIMARY KEY,
    value   TEXT   NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
