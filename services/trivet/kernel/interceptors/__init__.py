"""What every server does around every RPC; `trivet.kernel.chain` says in which order and why."""
