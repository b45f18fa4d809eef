"""A channel to the services of this process: gRPC's semantics without its wire."""
