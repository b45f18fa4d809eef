"""llama.cpp's server as `child.py` runs it, but for vectors: run as a script, with the folder of `child.py` and the pooling."""

import sys
from typing import Any

sys.path.insert(0, sys.argv[1])

import child  # type: ignore[import-not-found]

as_it_is = child._parameters


def pooled(xllamacpp: Any, options: dict[str, Any]) -> Any:
    parameters = as_it_is(xllamacpp, options)
    parameters.embedding = True
    parameters.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{sys.argv[2]}")
    return parameters


child._parameters = pooled
child.serve()
