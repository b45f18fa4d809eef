"""What the gateway does about `mcp` tools of a response: lists and calls them, asks for approval, and tells it as items."""
