"""One module per upstream dialect or engine that ModelService can call."""
