"""From a volume to lesions; start at pipeline."""
