"""Segment many scans and make one table of them; start at scans, run and tables."""
