"""What ``perdure snapshot`` writes: chosen rows of a store, without what nobody should see, for tests of new code."""
