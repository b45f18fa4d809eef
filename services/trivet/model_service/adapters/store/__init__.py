"""Where responses and conversations are kept: SQLite or PostgreSQL, by the same SQL."""
