"""Reports: live events, log records and mistakes of hooks, and callers that read rows beside turns."""
