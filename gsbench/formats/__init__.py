"""Splat files of other software. Each format has its module: `gsbench.formats.ply`, ..."""
