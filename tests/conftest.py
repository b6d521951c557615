"""What holds for every test: a property test on a busy machine is slow, not wrong."""

from hypothesis import settings

settings.register_profile("fleet", deadline=None)
settings.load_profile("fleet")
