-- Instances that one version of the code cannot read, and leaves to another: the job with the fingerprints of these versions, and
-- the mark as JSON. An engine finds those of others by the few different values of left_by.
ALTER TABLE instances ADD COLUMN left_by TEXT;
ALTER TABLE instances ADD COLUMN left_mark TEXT;
ALTER TABLE messages ADD COLUMN left_by TEXT;
CREATE INDEX instances_left ON instances (left_by, incarnation) WHERE left_by IS NOT NULL;
CREATE INDEX instances_left_listed ON instances (kind, name, id) WHERE left_by IS NOT NULL;
CREATE INDEX messages_left ON messages (left_by, message_id) WHERE left_by IS NOT NULL;

-- Instances that were parked as undecodable, which this replaces: the next start tries each of them.
UPDATE instances SET suspension = NULL, status = 'left', left_by = kind || ':' || name || char(9) || 'unknown',
  left_mark = json_object('codes', json_array('unknown'), 'since_ms', updated_ms, 'error',
    json_object('form', 'defect', 'error_type', 'InvalidInput', 'message', 'an earlier version could not read it'))
  WHERE suspension = 'undecodable';

-- When an instance was last paused or parked.
ALTER TABLE instances ADD COLUMN suspended_ms INTEGER;
UPDATE instances SET suspended_ms = updated_ms WHERE suspension IS NOT NULL;

DROP INDEX instances_suspended;
