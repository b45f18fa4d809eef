"""The configuration that a command serves, as often as it is read."""

from argparse import Namespace

from trivet.standalone.chosen_config import config_file, configuration
from trivet.standalone.config import Config, UsageError, with_addresses, with_generated_key


class ServedConfig:
    """What the arguments of `trivet serve` say, and the file that they name, which is None where there is none.

    `generated` is the key that was made because the file had none when it was first read, "" where it had one.
    """

    def __init__(self, arguments: Namespace) -> None:
        self.file = config_file(arguments)
        self.generated = ""
        self._arguments = Namespace(**{**vars(arguments), "config": self.file})
        self._loaded = False

    def load(self) -> Config:
        """The configuration as it is now.

        Raises:
            ConfigError: the file is at fault.
            UsageError: it does not go together with the arguments, or it has no keys any more.
        """
        arguments = self._arguments
        config = with_addresses(configuration(arguments), http=arguments.http, grpc=arguments.grpc)
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
