"""What Trivet costs, measured beside a bare proxy and beside other gateways: `python -m bench`."""
