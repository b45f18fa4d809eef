"""AgentService lets a model call the tools of MCP servers: it holds the loop, and reaches models and tools through stubs."""
