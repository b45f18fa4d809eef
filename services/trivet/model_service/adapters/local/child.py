"""The child process: llama.cpp's own HTTP server over one model. Run as a script; it imports nothing of Trivet.

Standard input carries one line of JSON (`Options` in `process.py`), the key among it, so that no other user reads it
from the process list; then it stays open as long as the parent lives. Its end is the order to stop, which also comes
when the parent is killed. Standard output carries one line, the server's URL, once it answers.
"""

import json
import os
import sys
import threading
from typing import Any


def serve() -> None:
    """Run until standard input ends."""
    options = json.loads(sys.stdin.buffer.readline())
    # Another thread: the model loads for seconds in this one, and the parent may be gone meanwhile.
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    address = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # llama.cpp logs to both

    import xllamacpp

    server = xllamacpp.Server(_parameters(xllamacpp, options))
    os.write(address, f"{server.listening_address}\n".encode())
    os.close(address)
    threading.Event().wait()


def _stop_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # no clean-up is worth waiting for: nothing is on disk


def _parameters(xllamacpp: Any, options: dict[str, Any]) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options["model"]
    parameters.model_alias = {options["alias"]}
    parameters.chat_template = options["template"]
    parameters.api_keys = [options["key"]]
    parameters.n_ctx = options["context"]
    parameters.n_parallel = options["slots"]
    parameters.kv_unified = True  # any one request may use the whole context
    for pool in (parameters.cpuparams, parameters.cpuparams_batch):
        pool.n_threads = options["threads"]
        pool.poll = 0  # no busy waiting: the processor is shared with the gateway
    parameters.sleep_idle_seconds = options["idle_seconds"]
    parameters.cache_ram_mib = 0
    parameters.fit_params = False
    parameters.verbosity = 2  # warnings
    parameters.ui = False
    parameters.cors_origins = ""
    return parameters


if __name__ == "__main__":
    serve()
