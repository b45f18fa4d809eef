"""What is seen to around a turn of a model: its context, its form, and what it takes."""
