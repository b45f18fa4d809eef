"""Responses and conversations on their way into the store and out of it."""
