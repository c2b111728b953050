"""Wants to end gsbench when it is imported."""

import sys

sys.exit(7)
