"""The method scaffold: Scaffold-GS."""
