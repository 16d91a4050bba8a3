-- An engine renews its own lease before it declares others dead. Two engines whose leases have both ended would otherwise
-- each hold the row of the other and wait for their own, until the server detects the deadlock; now each gives up after
-- the time limit of `declare_dead`, and both live.
CREATE OR REPLACE FUNCTION perdure.heartbeat(my_epoch bigint, my_served text, lease_ms bigint) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  UPDATE perdure.engines SET lease_until = clock_timestamp() + lease_ms * interval '1 ms', served = my_served
    WHERE epoch = my_epoch AND state = 'open';
  IF NOT FOUND THEN RAISE EXCEPTION 'epoch % has ended', my_epoch USING ERRCODE = 'PD001'; END IF;
  PERFORM perdure.declare_dead(epoch) FROM perdure.engines
    WHERE state = 'open' AND lease_until < clock_timestamp() AND epoch <> my_epoch ORDER BY epoch;
END $$;
