"""Clients: `wrk` for load, and clients of our own where each answer must be looked at."""
