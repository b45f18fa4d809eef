"""The configuration that a command serves, as often as it is read."""

import os
from argparse import Namespace

from trivet.standalone.chosen_config import config_file, configuration
from trivet.standalone.config import Config, UsageError, with_generated_key, with_server


class ServedConfig:
    """What the arguments of `trivet serve` say, and the file that they name, which is None where there is none.

    `generated` is the key that was made because the file had none when it was first read, "" where it had one. Whoever is one of
    several that serve the same is given it.
    """

    def __init__(self, arguments: Namespace, generated: str = "") -> None:
        self.file = config_file(arguments)
        self.generated = generated
        self._arguments = Namespace(**{**vars(arguments), "config": self.file})
        self._loaded = False

    def load(self) -> Config:
        """The configuration as it is now, with a number of workers that is known.

        Raises:
            ConfigError: the file is at fault.
            UsageError: it does not go together with the arguments, or it has no keys any more.
        """
        arguments = self._arguments
        config = with_server(configuration(arguments), http=arguments.http, grpc=arguments.grpc, workers=arguments.workers)
        config = with_server(config, workers=_number(config.server.workers))
        if not config.auth.keys:
            config = self._with_key(config)
        self._loaded = True
        return config

    def _with_key(self, config: Config) -> Config:
        if self._arguments.part != "all":
            raise UsageError("`auth.keys` is empty: parts that run apart need a key that all of them know")
        if self._loaded and not self.generated:
            # Nobody would see one that is made now.
            raise UsageError("`auth.keys` has become empty: give a key, or start again for one that is made")
        config, self.generated = with_generated_key(config, self.generated)
        return config


def _number(workers: int) -> int:
    """How many processes are meant: by 0, one for each processor that we may use."""
    if workers:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
