-- A heartbeat and the members in one statement: an idle engine sends few.
CREATE FUNCTION perdure.beat(my_epoch bigint, my_served text, lease_ms bigint)
RETURNS TABLE (epoch bigint, served text, joined_ms bigint, lease_left_ms bigint, label text, last_epoch bigint)
LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM perdure.heartbeat(my_epoch, my_served, lease_ms);
  RETURN QUERY SELECT * FROM perdure.members();
END $$;
