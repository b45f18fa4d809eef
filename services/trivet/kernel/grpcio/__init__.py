"""gRPC over TCP, by grpcio."""
