from hypothesis import settings

# A busy machine is no reason to fail, and the same examples come every time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
