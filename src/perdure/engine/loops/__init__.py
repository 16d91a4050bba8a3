"""The work that no request asks for: alarms, lanes, messages, recovery and retention."""
