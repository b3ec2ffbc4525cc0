-- What has expired is replaced by whoever adds it again: an import asks for it with every chunk, and mostly there is
-- none.
CREATE INDEX suppression_expires ON suppression (expires) WHERE expires IS NOT NULL;
