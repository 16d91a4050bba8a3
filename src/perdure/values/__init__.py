"""The words of the library, as values: instances, transitions, events, answers, errors, time and schedules."""
