"""The kernel is what every Trivet process shares and no single one needs."""
