"""Reports: live events, log records and hook mistakes, and callers that read rows beside turns."""
