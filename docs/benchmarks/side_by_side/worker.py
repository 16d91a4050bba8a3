"""The separate worker process of a system that has one: ``python -m side_by_side.worker NAME PLACE``."""

from __future__ import annotations

import sys

from side_by_side.place import from_argument
from side_by_side.system import system

if __name__ == "__main__":
    system(sys.argv[1]).work(from_argument(sys.argv[2]))
