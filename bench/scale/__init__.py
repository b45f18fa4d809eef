"""How cost grows with concurrency, sizes, tools, history and what is stored: `python -m bench.scale`."""
