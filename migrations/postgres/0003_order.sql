-- What operators say of lanes, and a change feed that tells of lanes and domains as well.

-- The orders that stand. kind: pause, cap. per_day is the cap's rate in messages a day, which every unit that people
-- write divides.
CREATE TABLE lane_order (
    provider    TEXT   NOT NULL,
    egress      TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    per_day     BIGINT,
    connections BIGINT,
    author      TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (provider, egress, kind)
);

-- Who ordered, withdrew and cleared what, and what was learned when, stays in the feed for good: the lane that a
-- change is about, and its particulars as JSON.
ALTER TABLE change ADD COLUMN provider TEXT;
ALTER TABLE change ADD COLUMN egress TEXT;
ALTER TABLE change ADD COLUMN detail TEXT;
CREATE INDEX change_lane ON change (provider, egress, sequence) WHERE provider IS NOT NULL;

-- A lane changes with every message. It carries the number of its last change itself: the feed tells its present
-- state once, and does not grow. So does a domain.
ALTER TABLE lane ADD COLUMN sequence BIGINT NOT NULL DEFAULT 0;
CREATE INDEX lane_sequence ON lane (sequence);
ALTER TABLE domain ADD COLUMN sequence BIGINT NOT NULL DEFAULT 0;
CREATE INDEX domain_sequence ON domain (sequence);
