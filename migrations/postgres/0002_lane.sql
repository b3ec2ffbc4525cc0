-- A lane's whole state as JSON: what its law of rate remembers has no use for columns. The columns beside
-- it say the same to people, and stand in for it where it was never written.
ALTER TABLE lane ADD COLUMN lane TEXT;
