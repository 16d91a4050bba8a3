-- Whoever declares an engine dead waits for the writers of that engine alone, and not long: a writer that is stuck, such
-- as behind a row that an operator has locked, keeps neither the living engines from renewing their leases nor their
-- writers from writing.
SELECT pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int);

CREATE FUNCTION perdure.writers_of(which bigint) RETURNS bigint LANGUAGE sql STABLE
RETURN ('perdure.instances'::regclass::oid::bigint << 32) | which;

CREATE OR REPLACE FUNCTION perdure.enter(my_epoch bigint, how_durable text) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1885692516, 'perdure.instances'::regclass::oid::int),
    pg_advisory_xact_lock_shared(perdure.writers_of(my_epoch));
  IF NOT EXISTS (SELECT FROM perdure.engines WHERE epoch = my_epoch AND state = 'open') THEN
    RAISE EXCEPTION 'epoch % has ended', my_epoch USING ERRCODE = 'PD001';
  END IF;
  IF how_durable = 'relaxed' THEN
    PERFORM set_config('synchronous_commit', 'off', true);
  ELSIF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
END $$;

CREATE FUNCTION perdure.declare_dead(which bigint) RETURNS void LANGUAGE plpgsql SET jit = off SET lock_timeout = '100ms' AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(perdure.writers_of(which));
  UPDATE perdure.engines SET state = 'dead' WHERE epoch = which AND state = 'open' AND lease_until < clock_timestamp();
EXCEPTION WHEN lock_not_available THEN
  NULL;  -- the next heartbeat tries again
END $$;

CREATE OR REPLACE FUNCTION perdure.heartbeat(my_epoch bigint, my_served text, lease_ms bigint) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM perdure.declare_dead(epoch) FROM perdure.engines
    WHERE state = 'open' AND lease_until < clock_timestamp() AND epoch <> my_epoch ORDER BY epoch;
  UPDATE perdure.engines SET lease_until = clock_timestamp() + lease_ms * interval '1 ms', served = my_served
    WHERE epoch = my_epoch AND state = 'open';
  IF NOT FOUND THEN RAISE EXCEPTION 'epoch % has ended', my_epoch USING ERRCODE = 'PD001'; END IF;
END $$;
