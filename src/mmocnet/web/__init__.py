"""The reading room: a server on this machine, its jobs and its page."""
