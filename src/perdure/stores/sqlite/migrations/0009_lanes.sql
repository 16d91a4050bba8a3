-- Instances that wait in a lane for a free worker, by their rank. No other row has an entry in the index.
ALTER TABLE instances ADD COLUMN lane TEXT;
ALTER TABLE instances ADD COLUMN rank_ms INTEGER;
CREATE INDEX instances_lanes ON instances (kind, name, lane, rank_ms) WHERE rank_ms IS NOT NULL;

-- When an instance ended that its kind keeps for its result.
ALTER TABLE instances ADD COLUMN ended_ms INTEGER;
