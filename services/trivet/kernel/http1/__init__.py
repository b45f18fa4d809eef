"""A small HTTP/1.1 client: requests and answers on kept connections, for one server at a time, and nothing that upstreams have no use for."""
