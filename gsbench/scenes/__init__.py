"""Scenes: data sets, readers, the demo."""
