"""Benchmarks of single parts, with pyperf: `python -m bench.micro`."""
