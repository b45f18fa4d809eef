"""How a command ends when it does not end well.

    CommandFailed     exit code 1: it was tried, and something else stood in the way
    +-- GatewayError  (rest_client) a gateway that does not answer, or answers with an error
    +-- Misused       exit code 2: it could not be carried out as it was given
        +-- ConfigError  (config) what is wrong with the file
        +-- UsageError   (config) what is wrong with the command, whatever the file says by itself

The text of each is for people.
"""

from typing import ClassVar


class CommandFailed(Exception):  # noqa: N818 - says what happened
    """A command that failed."""

    exit_code: ClassVar[int] = 1


class Misused(CommandFailed):
    """A command or a configuration that can't be meant."""

    exit_code: ClassVar[int] = 2
