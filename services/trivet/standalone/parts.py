"""The parts that Trivet can be taken into, each a process of its own."""

from typing import Literal, get_args

Part = Literal["all", "model", "agent", "tool", "bridge"]
PARTS: tuple[Part, ...] = get_args(Part)

Service = Literal["model", "tool", "agent"]

SERVICES: dict[Part, tuple[Service, ...]] = {
    "all": ("tool", "model", "agent"),
    "model": ("model",),
    "tool": ("tool",),
    "agent": ("agent",),
    "bridge": (),
}
"""The services that run in a part, in the order in which they start: the model calls the tools, the agent calls both."""

CALLS: dict[Part, tuple[Service, ...]] = {
    "all": ("model", "tool", "agent"),
    "model": ("tool",),
    "tool": (),
    "agent": ("model", "tool"),
    "bridge": ("model", "tool", "agent"),
}
"""The services that a part calls."""

DISPENSABLE: frozenset[tuple[Part, Service]] = frozenset({("model", "tool")})
"""The parts that get along without a service which they call, if the configuration does not tell where it is."""

COMPANIONS: dict[Service, tuple[str, ...]] = {
    "model": tuple(
        f"trivet.model.v1.{name}" for name in ("ConversationService", "MessageService", "AudioService", "UsageService")
    ),
    "tool": (),
    "agent": (),
}
"""The full names of what a service's process serves besides it, over the same channel."""

FULL_NAMES: dict[Service, str] = {
    "model": "trivet.model.v1.ModelService",
    "tool": "trivet.tool.v1.ToolService",
    "agent": "trivet.agent.v1.AgentService",
}
