"""The methods hac and hac++: anchors compressed by a learned context."""
