"""The commands of the command line, each a module named like it whose `run` answers with the exit code."""
