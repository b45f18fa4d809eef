"""The MCP transports, one file each."""
