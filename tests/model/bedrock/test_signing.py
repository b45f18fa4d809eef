"""Requests to AWS are signed as botocore signs them, for the path as it is sent; credentials come from where they should."""

import hashlib
import hmac
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.upstreams.scripted import Request, ScriptedUpstream, answer
from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.adapters.bedrock import Bedrock
from trivet.model_service.adapters.bedrock_auth import AwsKeys, AwsSigner, hosts_of
from trivet.model_service.domain.turn import Message, Text, TurnRequest
from trivet.model_service.providers import open_provider
from trivet.model_service.settings import ProviderSettings

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-x-v1:0"
OK = {"output": {"message": {"role": "assistant", "content": [{"text": "yes"}]}}, "stopReason": "end_turn"}
USAGE = {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_credentials_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def opened(upstream: ScriptedUpstream, stack: AsyncExitStack, aws: dict[str, str] | None = None, **more: Any) -> Bedrock:
    told = {"name": "aws", "type": "bedrock", "base_url": f"http://127.0.0.1:{upstream.port}", **more}
    settings = ProviderSettings.model_validate({**told, "aws": {"region": "us-east-1", **(aws or {})}})
    dialect = open_provider(settings, stack).dialect
    assert isinstance(dialect, Bedrock)
    return dialect


async def ask(dialect: Bedrock, model: str = ARN) -> None:
    _ = [batch async for batch in dialect.turn(TurnRequest(model, (Message("user", (Text("hi"),)),)))]


def signature_of(request: Request, secret: str) -> str:
    """The signature that AWS would compute of what it was sent; written from its specification."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=\w+",
        request.headers["authorization"],
    )
    assert found is not None
    _, date, region, service, names = found.groups()
    # Each segment of the path, as it was sent, is encoded once more.
    path = request.path.replace("%", "%25")
    headers = "".join(f"{name}:{request.headers[name]}\n" for name in names.split(";"))
    body = hashlib.sha256(json.dumps(request.body, separators=(",", ":")).encode()).hexdigest()
    canonical = "\n".join([request.method, path, "", headers, names, body])
    scope = f"{date}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, digest])
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


async def test_what_was_sent_carries_the_signature_that_aws_computes_of_it(
    upstream: ScriptedUpstream, stack: AsyncExitStack
) -> None:
    upstream.play(answer(OK | USAGE))
    await ask(opened(upstream, stack, KEYS))

    [request] = upstream.requests
    assert request.path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-x-v1%3A0/converse"
    )
    assert "Credential=AKIDEXAMPLE/" in request.headers["authorization"]
    assert "/us-east-1/bedrock/aws4_request" in request.headers["authorization"]
    assert "SignedHeaders=content-type;host;x-amz-date" in request.headers["authorization"]
    assert request.headers["authorization"].endswith(f"Signature={signature_of(request, KEYS['secret_access_key'])}")


async def test_temporary_keys_bring_their_token(upstream: ScriptedUpstream, stack: AsyncExitStack) -> None:
    upstream.play(answer(OK | USAGE))
    await ask(opened(upstream, stack, {**KEYS, "session_token": "token-1"}))

    [request] = upstream.requests
    assert request.headers["x-amz-security-token"] == "token-1"
    assert "x-amz-security-token" in request.headers["authorization"]
    assert request.headers["authorization"].endswith(f"Signature={signature_of(request, KEYS['secret_access_key'])}")


async def test_without_keys_the_environment_is_asked(
    upstream: ScriptedUpstream, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDAROUND")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-around")
    upstream.play(answer(OK | USAGE))
    await ask(opened(upstream, stack))

    [request] = upstream.requests
    assert "Credential=AKIDAROUND/" in request.headers["authorization"]
    assert request.headers["authorization"].endswith(f"Signature={signature_of(request, 'secret-around')}")


async def test_without_any_credentials_the_provider_has_failed(upstream: ScriptedUpstream, stack: AsyncExitStack) -> None:
    with pytest.raises(UpstreamFailed, match="`aws` has no AWS credentials"):
        await ask(opened(upstream, stack))
    assert upstream.requests == []


async def test_a_bedrock_api_key_is_a_bearer_token(upstream: ScriptedUpstream, stack: AsyncExitStack) -> None:
    upstream.play(answer(OK | USAGE))
    await ask(opened(upstream, stack, api_key="bedrock-api-key-1"))
    assert upstream.requests[0].headers["authorization"] == "Bearer bedrock-api-key-1"


async def test_a_list_is_signed_with_its_query(upstream: ScriptedUpstream, stack: AsyncExitStack) -> None:
    upstream.play(answer({"modelSummaries": [{"modelId": "amazon.nova-x", "modelName": "Nova X"}]}))
    upstream.play(answer({"inferenceProfileSummaries": [{"inferenceProfileId": "us.amazon.nova-x"}]}))
    models = await opened(upstream, stack, KEYS).list_models()

    assert [(model.id, model.description) for model in models] == [("amazon.nova-x", "Nova X"), ("us.amazon.nova-x", "")]
    assert all("Credential=AKIDEXAMPLE/" in request.headers["authorization"] for request in upstream.requests)


async def test_the_headers_are_those_of_botocores_own_signer() -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signer = AwsSigner("aws", "eu-west-1", AwsKeys("AKIDEXAMPLE", "secret"))
    await signer.endpoint("https://h")
    url, body = "https://h/model/a%3A0/converse", b'{"messages":[]}'
    ours = signer.sign("POST", url, {"Content-Type": "application/json", "Accept": "x"}, body)
    request = AWSRequest("POST", url, headers={"Content-Type": "application/json"}, data=body)
    request.context["timestamp"] = ours["X-Amz-Date"]
    auth = SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "bedrock", "eu-west-1")
    request.headers["X-Amz-Date"] = ours["X-Amz-Date"]
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert ours["Authorization"].endswith(f"Signature={expected}")


async def test_no_secret_is_in_what_is_shown_of_keys_and_endpoints() -> None:
    keys = AwsKeys("AKIDEXAMPLE", "very-secret", "token-secret")
    endpoint = await AwsSigner("aws", "eu-west-1", keys).endpoint("https://h")
    assert endpoint.api_key == "very-secret"
    assert "secret" not in f"{keys!r} {endpoint!r}"


def test_a_region_has_its_addresses() -> None:
    assert hosts_of("eu-central-1") == (
        "https://bedrock-runtime.eu-central-1.amazonaws.com",
        "https://bedrock.eu-central-1.amazonaws.com",
    )
    assert hosts_of("cn-north-1")[0] == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "needs `aws` with its `region`"),
        ({"aws": {"region": "nowhere"}}, "region"),
        ({"aws": {"region": "us-east-1", "access_key_id": "A"}}, "go together"),
        ({"aws": {"region": "us-east-1", "session_token": "t"}}, "belongs to an `access_key_id`"),
        ({"aws": {"region": "us-east-1", **KEYS}, "api_key": "k"}, "either an `api_key` or"),
        ({"type": "openai-chat", "base_url": "http://h", "aws": {"region": "us-east-1"}}, "`aws` is for `bedrock`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(more: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ProviderSettings.model_validate({"name": "aws", "type": "bedrock", **more})


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(ValidationError, match=r"pip install 'trivet\[bedrock\]'"):
        ProviderSettings.model_validate({"name": "aws", "type": "bedrock", "aws": {"region": "us-east-1"}})
