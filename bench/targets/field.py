"""All that can be measured."""

from collections.abc import Sequence

from bench.targets.floor import Floor
from bench.targets.target import Target
from bench.targets.trivet import FourProcesses, OneProcess

FIELD: Sequence[Target] = (Floor(), OneProcess(), FourProcesses())
