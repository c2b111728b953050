"""Rasterizers of other packages behind gsbench's call, for comparisons on the same inputs. They appear as backends
where those packages are installed, draw on CUDA devices only, and name what they cannot do.
"""
