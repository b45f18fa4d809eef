"""First look."""

import argparse
import contextlib

from bench.measures.work import cost
from bench.site import answering, neighbours
from bench.targets.field import FIELD
from bench.upstream.scripts import BURST, PACED, PLAIN

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--targets", default="floor,trivet")
arguments = parser.parse_args()
with contextlib.ExitStack() as stack:
    around = stack.enter_context(neighbours())
    runs = [stack.enter_context(answering(t, around.site(t.name))) for t in FIELD if t.name in arguments.targets.split(",")]
    for script, connections, seconds in ((PLAIN, 8, 2), (BURST, 4, 2), (PACED, 64, 4)):
        for face in ("chat", "responses"):
            for _ in range(2):
                for one in runs:
                    print(
                        script.kind,
                        face,
                        one.target.name,
                        cost(one, around.upstream, face, script, connections=connections, seconds=seconds),
                        flush=True,
                    )
