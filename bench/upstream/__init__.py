"""The model provider that all targets call: it costs next to nothing, and does what the prompt says."""
