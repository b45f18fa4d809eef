"""What a tool call is and how sessions are shared, with no word about transports."""
