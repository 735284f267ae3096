-- A browser that came by a return code has the labs of the session that the code is of.
ALTER TABLE sessions ADD COLUMN learner BLOB REFERENCES sessions (id) ON DELETE CASCADE CHECK (length(learner) = 32); -- NULL: its own
CREATE INDEX sessions_by_learner ON sessions (learner);
