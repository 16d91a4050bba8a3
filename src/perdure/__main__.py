"""``python -m perdure``: the command line."""

import sys

from perdure.cli.main import main

sys.exit(main())
