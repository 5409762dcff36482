"""Where in the brain a lesion lies: regions of the Microbleed Anatomical Rating Scale."""
