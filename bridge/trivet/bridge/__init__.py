"""The bridge puts the REST contract, JSON and server-sent events, on top of the gRPC services."""
