"""Responses that are made whether or not their callers stay, and the readers that follow them."""
