"""The two networks, their loss, and their checkpoints."""
