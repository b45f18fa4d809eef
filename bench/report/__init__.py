"""What comes out: a file of all figures, a table for people, and a chart."""
