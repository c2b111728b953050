"""``python -m gsbench``: the command line, where the command itself is not on the path."""

import sys

from gsbench.cli import main

sys.exit(main())
