"""Records what calls to models take and cost, and tells it."""
