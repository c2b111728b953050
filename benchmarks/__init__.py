"""Measurements of speed and memory: ``python -m benchmarks``."""

from gsbench.bench.threads import set_threads

# Before OpenMP is loaded: threads wait as they do in jobs.
set_threads()
