"""Settings of the whole suite."""

import os

# Workers share the cores: one thread each, or they wait for one another in every torch operation.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
