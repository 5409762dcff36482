"""From a scan to what the networks read: geometry, brain, intensity, SWI processing."""
