"""What every test runs under."""

import os

from hypothesis import settings

# torch reads it when it is first imported: sums come out the same on machines with more cores.
os.environ.setdefault("OMP_NUM_THREADS", "2")

# The same examples on every run; `pytest --hypothesis-profile=thorough` looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("ci")
