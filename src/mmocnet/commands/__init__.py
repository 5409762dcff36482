"""Each command as one call; the command line adds options, progress bars and words."""
