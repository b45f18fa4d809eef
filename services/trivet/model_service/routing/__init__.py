"""Which target answers a call to a model, and what is done when it does not."""
