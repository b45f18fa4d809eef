"""The providers that ModelService calls."""

import re
from collections import Counter
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _http_url(url: str) -> str:
    # The URL itself stays out of every message: it may carry a password.
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http:// or https:// URL, as in http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise ValueError("a URL must not carry a user or a password: use `api_key` or `headers`")
    if parts.query or parts.fragment:
        raise ValueError("a base URL has no query and no fragment")
    return url.rstrip("/")


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("not the name of an HTTP header")
    return name


def _none_is_no_key(value: object) -> object:
    return None if value in ("none", "") else value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
HeaderName = Annotated[str, AfterValidator(_header_name)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TimeoutSettings(_Section):
    """How long a provider may take."""

    connect_seconds: float = Field(default=10.0, gt=0)
    """To open a connection."""

    read_seconds: float = Field(default=300.0, gt=0)
    """Between two pieces of an answer; also until its first byte."""

    total_seconds: float = Field(default=600.0, gt=0)
    """The whole call. A caller's own deadline cuts it shorter."""


class ProviderSettings(_Section):
    """A provider: a place that serves models, and the dialect it speaks."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    """The first part of a model's name: `lab` in `lab/fast`."""

    type: Literal["openai-chat", "openai-responses", "local"]
    """The dialect; `local` is the embedded demonstration model."""

    base_url: HttpUrl | None = None
    """The URL that the dialect's paths are added to, with its version: `https://host/v1`. Needed for all but `local`."""

    api_key: Annotated[SecretStr | None, BeforeValidator(_none_is_no_key)] = None
    """Sent as a bearer token. `none`, empty or absent: none is sent."""

    headers: dict[HeaderName, SecretStr] = {}
    """Sent with each call."""

    flavor: Literal["openai", "compatible"] | None = None
    """For `openai-chat`: `openai` takes `max_completion_tokens` and the role `developer`, `compatible` is given their
    older names. Absent: `openai` at OpenAI and Azure, `compatible` everywhere else."""

    models: tuple[str, ...] | None = None
    """The upstream models that are offered. Absent: whatever the provider lists, and any name may be asked for."""

    timeouts: TimeoutSettings = TimeoutSettings()

    @model_validator(mode="after")
    def _base_url_by_type(self) -> Self:
        if self.type == "local":
            if self.base_url is not None or self.api_key is not None or self.headers:
                raise ValueError("a provider of type `local` has no `base_url`, `api_key` or `headers`: it runs inside Trivet")
        elif self.base_url is None:
            raise ValueError(f"a provider of type `{self.type}` needs a `base_url`")
        return self


class ModelSettings(_Section):
    """What ModelService serves."""

    providers: tuple[ProviderSettings, ...] = ()
    """In the order in which models are listed."""

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        twice = [name for name, count in Counter(provider.name for provider in self.providers).items() if count > 1]
        if twice:
            raise ValueError(f"two providers are named `{twice[0]}`")
        return self
