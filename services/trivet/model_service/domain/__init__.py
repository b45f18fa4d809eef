"""The language between faces and dialects: one model turn, asked for and streamed, with no transport in it."""
