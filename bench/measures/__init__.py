"""What is measured of a target, one kind of figure to a module."""
