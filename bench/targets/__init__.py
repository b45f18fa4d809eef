"""What is measured: one adapter for each gateway, which knows how it is installed, started and asked."""
