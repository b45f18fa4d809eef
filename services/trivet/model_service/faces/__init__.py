"""One module per API face: reads its request into a turn, and renders the events of the turn."""
