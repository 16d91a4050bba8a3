"""The words of the library, as values: addresses, instances, transitions, events, answers, errors, time and schedules."""
