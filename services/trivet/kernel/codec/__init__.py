"""JSON for messages: each descriptor and its REST options are compiled once to closures that encode and decode it."""
