"""Methods that cheat, each in its own way."""
