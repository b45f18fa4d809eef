"""Which words a chat provider is spoken to in: by its address, or as configured."""

from typing import Any

import pytest

from trivet.model_service.adapters.openai_chat_request import COMPATIBLE, OPENAI, ChatFlavor
from trivet.model_service.providers import flavor_of
from trivet.model_service.settings import ProviderSettings


@pytest.mark.parametrize(
    ("base_url", "more", "flavor"),
    [
        ("https://api.openai.com/v1", {}, OPENAI),
        ("https://team.openai.azure.com/openai/v1", {}, OPENAI),
        ("http://127.0.0.1:8000/v1", {}, COMPATIBLE),
        ("https://api.openai.com.example.org/v1", {}, COMPATIBLE),
        ("https://api.openai.com/v1", {"flavor": "compatible"}, COMPATIBLE),
        ("http://127.0.0.1:8000/v1", {"flavor": "openai"}, OPENAI),
    ],
)
def test_openai_and_azure_are_known_by_their_names(base_url: str, more: dict[str, Any], flavor: ChatFlavor) -> None:
    settings = ProviderSettings.model_validate({"name": "p", "type": "openai-chat", "base_url": base_url, **more})
    assert flavor_of(settings) is flavor
