"""Plugins: the hook specifications and the manager that loads them."""
