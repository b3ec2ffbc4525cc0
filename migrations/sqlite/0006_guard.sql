-- The incident guard: what waits for better evidence is found without reading all suppressions, and a report that is
-- proved later remembers who answered and in which stream the mail was.

ALTER TABLE unproven ADD COLUMN provider TEXT;
ALTER TABLE unproven ADD COLUMN stream TEXT;

-- Few: for the sweep that drops those that nothing confirmed, and for the count of them.
CREATE INDEX suppression_quarantined ON suppression (since) WHERE standing = 'quarantined';
