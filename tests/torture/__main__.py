"""``python -m tests.torture``: begun anew under the layer that puts faults into files (see ``shim.c``)."""

import os
import sys
import tempfile
from pathlib import Path

from tests.torture import shim

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything that counts cores is loaded
if not shim.why_not() and not shim.is_loaded():
    shim.begin_again(Path(tempfile.mkdtemp(prefix="torture-shim-")), ["-m", "tests.torture", *sys.argv[1:]])

from tests.torture.campaign import main

main()
