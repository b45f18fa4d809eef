"""What makes a response more than a turn of a model: it is kept, gone on from, worked on in the background, followed, and given tools."""
