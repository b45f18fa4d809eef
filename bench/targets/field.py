"""All that can be measured."""

from collections.abc import Sequence

from bench.targets.ferrogw import Ferrogw
from bench.targets.floor import Floor
from bench.targets.litellm import LiteLLM
from bench.targets.portkey import Portkey
from bench.targets.smg import Smg
from bench.targets.target import Target
from bench.targets.tensorzero import TensorZero
from bench.targets.trivet import FourProcesses, Merged, OneProcess, Unrecorded

FIELD: Sequence[Target] = (
    Floor(),
    OneProcess(),
    FourProcesses(),
    Merged(),
    Unrecorded(),
    Smg(),
    TensorZero(),
    Ferrogw(),
    Portkey(),
    LiteLLM(),
)
