"""The rules of an agent run that need neither models nor servers."""
