"""Settings of AgentService."""

from pydantic import BaseModel, ConfigDict, Field


class AgentSettings(BaseModel):
    """How agent runs are bounded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_parallel_tool_calls: int = Field(default=16, ge=1, le=256)
    """The most tool calls of one run at the same time; the others wait."""
