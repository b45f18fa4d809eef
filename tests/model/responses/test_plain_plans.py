"""A plain request is one for which nobody but the model has anything to do: it must be no other's business."""

from typing import Any, cast

import pytest

from tests.model.responses.turning import Turning, asking, managed, saying
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.store import Store
from trivet.model_service.faces.urls import may_hold_urls
from trivet.model_service.responses.plan import Plan, Planner, sole_request
from trivet.model_service.turns import ModelTurns

_TURNS = managed(Turning(saying("x")))

_SETTINGS: dict[str, Any] = {
    "instructions": "Be short.",
    "include": ["message.output_text.logprobs"],
    "max_output_tokens": 9,
    "max_tool_calls": 2,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_logprobs": 2,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "parallel_tool_calls": False,
    "metadata": {"a": "https://example.com/a"},
    "store": False,
    "stream": True,
    "service_tier": "flex",
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
}

_OTHERS: dict[str, Any] = {
    "text": {"format": {"type": "json_object"}},
    "reasoning": {"effort": "low"},
    "tools": [{"type": "mcp", "server_label": "clock", "server_url": "https://example.com"}],
    "tool_choice": "required",
    "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    "truncation": "auto",
    "stream_options": {"include_obfuscation": False},
    "generate": False,
    "unknown": {"image_url": "https://example.com/a.png"},
}


async def planned(request: CreateResponseRequest) -> Plan:
    return await Planner(_TURNS, cast("Store", None)).plan(request, "alice")


@pytest.mark.parametrize("name", _SETTINGS)
async def test_a_text_with_settings_for_the_model_is_plain_and_nobody_else_is_concerned(name: str) -> None:
    plan = await planned(request := asking(**{name: _SETTINGS[name]}))

    assert plan.is_plain
    assert sole_request(plan) is request
    assert type(_TURNS.layered(request, plan.told)) is ModelTurns
    assert not may_hold_urls(request)
    assert not plan.is_warm_up


@pytest.mark.parametrize("name", _OTHERS)
async def test_what_may_be_done_for_besides_asking_a_model_is_not_plain(name: str) -> None:
    assert not (await planned(asking(**{name: _OTHERS[name]}))).is_plain


async def test_items_are_not_plain() -> None:
    assert not (await planned(asking(input=[{"role": "user", "content": "hi"}]))).is_plain


def test_every_field_of_a_request_is_known_to_be_plain_or_not() -> None:
    known = {
        *_SETTINGS,
        *_OTHERS,
        "model",
        "input",
        "extra",
        "previous_response_id",
        "conversation",
        "prompt",
        "background",
        "background_options",
    }

    fields = {field.name for field in CreateResponseRequest.DESCRIPTOR.fields}

    assert fields - known == {"prompt_cache_options", "access_programs", "image", "moderation"}
