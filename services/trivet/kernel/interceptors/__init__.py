"""The interceptors that every server runs around every RPC; `trivet.kernel.chain` says in which order and why."""
