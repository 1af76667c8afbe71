"""What holds for every test here."""

from hypothesis import settings

# Hypothesis fails an example that takes more than 200 ms. On a machine that stalls that says
# nothing about the code; pytest-timeout is there for what hangs.
settings.register_profile("berth", deadline=None)
settings.load_profile("berth")
