"""A reading: what a reader says of a scan and its candidates, kept, undone, compared, exported."""
