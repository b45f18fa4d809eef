"""The service that owns MCP: registered servers, their transports, sessions and tools."""
