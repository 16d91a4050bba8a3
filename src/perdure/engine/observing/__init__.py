"""Reports: live events, log records and mistakes of hooks. And callers that read rows beside turns."""
