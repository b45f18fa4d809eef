"""Tools of MCP servers as models call them: under which names, how ToolService runs them, and what is read of their results."""
