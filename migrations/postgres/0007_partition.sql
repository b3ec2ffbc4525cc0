-- Events and seen ids in partitions by the day that their ids begin with: a day that is old goes in a moment, where
-- deleting its rows would take hours and leave holes. What stands becomes the oldest partition, up to the day after
-- tomorrow (or beyond the latest id, where a clock was wrong); what is for no day goes to the rest. The days are made
-- by the nodes, a week ahead.
--
-- An older node goes on writing to the same names, and notices nothing but the moment that this takes: the rows that
-- stand are read once, to see that they fit.

DO $$
DECLARE
    part TEXT;
    latest BYTEA;
    day BIGINT;
    millis BIGINT;
    bound BYTEA;
BEGIN
    FOREACH part IN ARRAY ARRAY['event', 'seen'] LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', part);
        EXECUTE format('SELECT id FROM %I ORDER BY id DESC LIMIT 1', part) INTO latest;
        day := floor(extract(epoch FROM now()) / 86400)::BIGINT + 2;
        IF latest IS NOT NULL THEN
            -- Six octets of milliseconds.
            millis := ('x' || lpad(encode(substring(latest FROM 1 FOR 6), 'hex'), 16, '0'))::BIT(64)::BIGINT;
            day := greatest(day, millis / 86400000 + 1);
        END IF;
        bound := decode(lpad(to_hex(day * 86400000), 12, '0') || repeat('0', 20), 'hex');
        EXECUTE format('ALTER TABLE %I RENAME TO %I', part, part || '_before');
        EXECUTE format('ALTER INDEX %I RENAME TO %I', part || '_pkey', part || '_before_pkey');
        IF part = 'event' THEN
            ALTER INDEX event_mailed RENAME TO event_before_mailed;
        END IF;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE (id)', part, part || '_before');
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)',
                       part, part || '_before', bound);
        EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', part || '_rest', part);
    END LOOP;
END $$;

-- Autovacuum. By default a table is visited when a fifth of it has changed. Ten million suppressions may wait for two
-- million dead rows that way, whose places every look-up of their page passes over: a fiftieth is soon enough.
ALTER TABLE suppression SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
-- Rows that are updated with every commit. Room on their page lets an update stay there and touch no index (HOT), and
-- a visit by count instead of share keeps a table of few rows as small as it is.
ALTER TABLE feed SET (fillfactor = 10, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
ALTER TABLE position SET (fillfactor = 20, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
ALTER TABLE total SET (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
ALTER TABLE census SET (fillfactor = 70);
ALTER TABLE tally SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05);
-- These only grow at one end, or are let go of in small batches: visited for new rows sooner, so that none has to be
-- frozen in one great run later.
ALTER TABLE change SET (autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE sent SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);
