"""gRPC over HTTP/2 as our servers and clients speak it, in the event loop: no threads, and nothing between a socket and its call."""
