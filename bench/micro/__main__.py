"""`python -m bench.micro`: pyperf's own arguments apply (`--fast`, `--output FILE`, `pyperf compare_to` for two files)."""

import pyperf

from bench.micro import agents, channels, events, messages


def main() -> None:
    """Run all of them, each in processes of its own."""
    runner = pyperf.Runner(program_args=["-m", "bench.micro"])
    for module in (messages, events, channels, agents):
        module.add_to(runner)


if __name__ == "__main__":
    main()
