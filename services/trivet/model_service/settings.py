"""The providers that ModelService calls, and the store that it keeps responses in."""

import os
import re
from collections import Counter
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from trivet.model_service.route_settings import VirtualModelSettings, mistakes
from trivet.model_service.usage_settings import UsageSettings

_POSTGRESQL = ("postgres", "postgresql", "postgresql+asyncpg")
_MOST_DAYS = 36_500
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


def _header_value(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().isprintable():
        raise ValueError("a header cannot have a line break or another control character, such as one at the end of a file")
    return value


def _none_is_no_key(value: object) -> object:
    return None if value in ("none", "") else value


def _store_url(url: SecretStr | None) -> SecretStr | None:
    if url is None:
        return None
    parts = urlsplit(url.get_secret_value())
    in_file = parts.scheme == "sqlite"
    if not (in_file or parts.scheme in _POSTGRESQL) or len(parts.path) < 2 or (in_file and parts.netloc):
        raise ValueError(
            "not a database's URL, as in sqlite:////var/lib/trivet/trivet.db or postgresql://trivet@db.internal/trivet"
        )
    return url


HttpUrl = Annotated[str, AfterValidator(_http_url)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]


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


class EmbeddingSettings(_Section):
    """How a provider is asked for embeddings. A request that is too much for one call is put in several."""

    max_batch: int | None = Field(default=None, ge=1, le=2048)
    """The most inputs of one call. Absent: 2048 for OpenAI, 100 for Gemini, 96 for Cohere, else 256."""

    max_batch_tokens: int | None = Field(default=None, ge=1)
    """The most tokens of one call; a text is taken for as many as it has bytes. Absent: 300000 for OpenAI, else no limit."""

    parallel: int = Field(default=4, ge=1)
    """The most calls of one request at a time."""

    encoding_format: Literal["base64", "float"] = "base64"
    """For providers of OpenAI's API: what they are asked for. `float` is for a server that refuses base64."""


class AwsSettings(_Section):
    """An account of AWS."""

    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")
    """For `bedrock`: where the models are, `eu-central-1`."""

    access_key_id: Annotated[str | None, BeforeValidator(_none_is_no_key)] = None
    """With `secret_access_key`, what requests are signed with. Absent: what the environment, a profile, the container or the
    instance has, as for every tool of AWS."""

    secret_access_key: Annotated[SecretStr | None, BeforeValidator(_none_is_no_key)] = None
    """The secret of `access_key_id`."""

    session_token: Annotated[SecretStr | None, BeforeValidator(_none_is_no_key)] = None
    """What belongs to temporary keys."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            raise ValueError("`access_key_id` and `secret_access_key` go together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("a `session_token` belongs to an `access_key_id`")
        return self


Dollars = Annotated[Decimal, Field(ge=0, max_digits=18, allow_inf_nan=False)]


class PriceSettings(_Section):
    """What a model costs, in US dollars, as text or a number: `"0.25"`."""

    input_per_million: Dollars | None = None
    """A million tokens of input."""

    output_per_million: Dollars | None = None
    """A million tokens of output, reasoning among them."""

    cache_read_per_million: Dollars | None = None
    """A million tokens of input that were read from a cache. Absent: as other input."""

    cache_write_per_million: Dollars | None = None
    """A million tokens of input that were written to a cache. Absent: as other input."""

    per_request: Dollars | None = None
    """Each call, besides its tokens. Alone, it is all that a call costs."""

    @model_validator(mode="after")
    def _some_price(self) -> Self:
        if self.input_per_million is None and self.output_per_million is None and self.per_request is None:
            raise ValueError("a price needs `input_per_million`, `output_per_million` or `per_request`")
        return self


class OfferedModel(_Section):
    """An upstream model that is offered; its name alone may stand for it."""

    name: str = Field(min_length=1)
    """The model's name at the provider."""

    price: PriceSettings | None = None
    """What it costs. Absent: what genai-prices tells."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: object) -> object:
        return {"name": given} if isinstance(given, str) else given


_AT_THEIR_MAKERS = frozenset({"anthropic", "gemini", "bedrock", "cohere"})
"""Types whose address is known."""


class ProviderSettings(_Section):
    """A provider: a place that serves models, and the dialect it speaks."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    """The first part of a model's name: `lab` in `lab/fast`."""

    type: Literal["openai-chat", "openai-responses", "anthropic", "gemini", "bedrock", "cohere", "local"]
    """The dialect; `bedrock` is Converse of AWS Bedrock, `local` the embedded demonstration model."""

    base_url: HttpUrl | None = None
    """The URL that the dialect's paths are added to, with its version: `https://host/v1`. Needed for all but
    `local`, and for `anthropic`, `gemini`, `bedrock` and `cohere`, which are at their makers' without one."""

    api_key: Annotated[HeaderValue | None, BeforeValidator(_none_is_no_key)] = None
    """Sent as a bearer token, or as the header that the type wants. `none`, empty or absent: none is sent."""

    headers: dict[HeaderName, HeaderValue] = {}
    """Sent with each call."""

    flavor: (
        Literal["openai", "azure", "compatible", "ollama", "vllm", "mistral", "groq", "together", "deepseek", "openrouter"] | None
    ) = None
    """For `openai-chat`, what the server [differs in](dialects.md#chat-completions-over-openai-chat); `azure` is for
    `openai-responses`, too. Absent: what is known of the address; else `compatible`."""

    api_version: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$", max_length=64)] | None = None
    """For Azure: the dated version of the API, as in `2024-10-21`; the models are then names of deployments. Absent: the
    API `/openai/v1`, which has no dates."""

    aws: AwsSettings | None = None
    """For `bedrock`: the account. With a Bedrock API key as `api_key` nothing is signed."""

    models: tuple[OfferedModel, ...] | None = None
    """The upstream models that are offered. Absent: whatever the provider lists, and any name may be asked for."""

    price_list: str | None = None
    """Whose prices its models have in genai-prices: `openai`, `azure`, `openrouter` and so on; `none`: nobody's. Absent: by
    `base_url`, or without one by `type`."""

    native_mcp: bool = False
    """For `openai-responses`: tools of type `mcp` are passed on, and the provider calls the servers. Otherwise Trivet does."""

    merge_text: bool = False
    """For `openai-chat`: pieces of a streamed text that come in the same moment, and differ in nothing else, go on as one piece.
    Otherwise each does by itself."""

    embeddings: EmbeddingSettings = EmbeddingSettings()

    timeouts: TimeoutSettings = TimeoutSettings()

    @property
    def offered(self) -> tuple[str, ...] | None:
        """The names of `models`; None where any may be asked for."""
        return None if self.models is None else tuple(model.name for model in self.models)

    @model_validator(mode="after")
    def _unique_models(self) -> Self:
        twice = [name for name, count in Counter(self.offered or ()).items() if count > 1]
        if twice:
            raise ValueError(f"two `models` are named `{twice[0]}`")
        return self

    @model_validator(mode="after")
    def _by_type(self) -> Self:
        if self.native_mcp and self.type != "openai-responses":
            raise ValueError(f"a provider of type `{self.type}` cannot call MCP servers: `native_mcp` is for `openai-responses`")
        if self.merge_text and self.type != "openai-chat":
            raise ValueError(f"texts of a provider of type `{self.type}` are not merged: `merge_text` is for `openai-chat`")
        return self

    @model_validator(mode="after")
    def _flavor_by_type(self) -> Self:
        if self.flavor is not None and self.type != "openai-chat" and (self.type, self.flavor) != ("openai-responses", "azure"):
            raise ValueError(f"a provider of type `{self.type}` is not spoken to in the flavor `{self.flavor}`")
        if self.api_version is not None and self.type not in ("openai-chat", "openai-responses"):
            raise ValueError(f"a provider of type `{self.type}` has no `api_version`")
        return self

    @model_validator(mode="after")
    def _aws_by_type(self) -> Self:
        if self.type != "bedrock":
            if self.aws is not None:
                raise ValueError(f"a provider of type `{self.type}` has no account of AWS: `aws` is for `bedrock`")
        elif self.aws is None:
            raise ValueError("a provider of type `bedrock` needs `aws` with its `region`")
        elif self.api_key is not None and self.aws.access_key_id is not None:
            raise ValueError("a provider has either an `api_key` or an `access_key_id` of AWS")
        elif find_spec("botocore") is None:
            raise ValueError("a provider of type `bedrock` needs an extra that is not installed: pip install 'trivet[bedrock]'")
        return self

    @model_validator(mode="after")
    def _base_url_by_type(self) -> Self:
        if self.type == "local":
            if self.base_url is not None or self.api_key is not None or self.headers:
                raise ValueError("a provider of type `local` has no `base_url`, `api_key` or `headers`: it runs inside Trivet")
        elif self.base_url is None and self.type not in _AT_THEIR_MAKERS:
            raise ValueError(f"a provider of type `{self.type}` needs a `base_url`")
        return self


class CannotOpenStore(Exception):  # noqa: N818 - says what happened
    """The store can't be used as it is configured; the text names it, without its password, and says why."""


def _data_folder() -> Path:
    folder = Path(os.environ.get("XDG_DATA_HOME", ""))
    if folder.is_absolute():
        return folder
    # What is not absolute has to be ignored, says the standard for this variable.
    try:
        return Path("~/.local/share").expanduser()
    except RuntimeError as error:
        raise CannotOpenStore("the user has no home to keep a store in: say in `store.url` where to") from error


class StoreSettings(_Section):
    """Where responses and conversations are kept, and for how long."""

    url: Annotated[SecretStr | None, AfterValidator(_store_url)] = None
    """`sqlite:///PATH` (absolute with four slashes), or `postgresql://USER:PASSWORD@HOST/DATABASE`. Absent: SQLite, the file
    `trivet/trivet.db` in `$XDG_DATA_HOME`, or in `~/.local/share`. Processes that share a store take over from each other."""

    retention_days: float = Field(default=30.0, ge=0, le=_MOST_DAYS)
    """How long a response is kept after it was made, and a conversation after it was last changed. 0: for ever. What a
    kept response went on from is kept with it, found by nobody."""

    max_bytes: int | None = Field(default=4 * 2**30, ge=1)
    """How much all responses and conversations may take; the oldest go first. `null`: as much as there is room for."""

    sweep_seconds: float = Field(default=60.0, gt=0)
    """How often is looked for what has to go."""

    claim_seconds: float = Field(default=10.0, gt=0)
    """After how long without a sign of life the background responses of a process are taken over by another."""

    secret_key: Annotated[SecretStr | None, BeforeValidator(_none_is_no_key)] = Field(default=None, min_length=16)
    """What the requests of background responses are encrypted by while they wait and run: they may carry the secrets of tools.
    The same for all processes. Needed with PostgreSQL. `none`, empty or absent: a key in a file beside that of SQLite, made when
    it is needed."""

    @model_validator(mode="after")
    def _shared_secret(self) -> Self:
        if self.url is not None and self.secret_key is None and self.file is None:
            raise ValueError("a store in PostgreSQL needs a `secret_key`, the same for all processes")
        return self

    @property
    def file(self) -> Path | None:
        """The file of SQLite; None where `url` is that of PostgreSQL.

        Raises:
            CannotOpenStore: there is no `url`, and the user has no folder for data.
        """
        if self.url is None:
            return _data_folder() / "trivet" / "trivet.db"
        scheme, _, path = self.url.get_secret_value().partition(":///")
        return Path(path) if scheme == "sqlite" else None


class BackgroundSettings(_Section):
    """Responses that are made in the background, and how many at a time."""

    max_running: int = Field(default=16, ge=0)
    """The most that one process works on at once. 0: this process leaves them to others that share its store."""

    max_running_per_key: int = Field(default=8, ge=1)
    """The most of one API key that all processes together work on at once; the others wait."""

    max_queued: int = Field(default=1000, ge=1)
    """The most that wait. Beyond, requests are refused with the status 429."""

    max_queued_per_key: int = Field(default=200, ge=1)
    """The most of one API key that wait."""

    max_seconds: float = Field(default=3600.0, gt=0)
    """How long one may take from when it was first begun, with all interruptions; after that it fails."""

    max_attempts: int = Field(default=3, ge=1)
    """How often one is begun or taken up without an item of its output being finished; after that it fails. What makes its
    process end each time is not tried for ever."""

    poll_seconds: float = Field(default=1.0, gt=0)
    """How often an idle process looks for what others that share its store have queued."""


class ModelSettings(_Section):
    """What ModelService serves."""

    providers: tuple[ProviderSettings, ...] = ()
    """In the order in which models are listed."""

    models: tuple[VirtualModelSettings, ...] = ()
    """Models of our own: names that callers ask for, each with the targets that serve it. They are listed first."""

    store: StoreSettings = StoreSettings()

    background: BackgroundSettings = BackgroundSettings()

    usage: UsageSettings = UsageSettings()

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        twice = [name for name, count in Counter(provider.name for provider in self.providers).items() if count > 1]
        if twice:
            raise ValueError(f"two providers are named `{twice[0]}`")
        return self

    @model_validator(mode="after")
    def _models_over_providers(self) -> Self:
        found = mistakes(self.models, {provider.name: provider.offered for provider in self.providers})
        told = [
            InitErrorDetails(type=PydanticCustomError("value_error", "{error}", {"error": wrong}), loc=where, input=None)
            for where, wrong in found
        ]
        if told:
            # Not a ValueError: this kind says where.
            raise ValidationError.from_exception_data("models", told)
        return self
