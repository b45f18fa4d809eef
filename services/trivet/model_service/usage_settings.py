"""Whether calls to models are recorded, and how long the records are kept."""

from pydantic import BaseModel, ConfigDict, Field

_MOST_DAYS = 36_500


class UsageSettings(BaseModel):
    """Records of calls to models: who called, what it took, what it cost. They are kept in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    record: bool = True
    """Whether calls are recorded. If not, only what was recorded before is told."""

    retention_days: float = Field(default=90.0, ge=0, le=_MOST_DAYS)
    """How long a record is kept. 0: for ever."""

    max_waiting: int = Field(default=20_000, ge=1)
    """The most records that wait in memory to be stored, while the store is away. What comes then is lost, and counted in the log."""
