"""The kinds of jobs. Each is a folder: context, pure handler, typed handle, definition; nothing else knows of it."""
