"""Trivet in one process: the configuration file, the command line, and everything put together."""
