"""The library's value types: instances, transitions, events, answers, errors, time and schedules."""
