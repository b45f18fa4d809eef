"""A whole answer that is one text and nothing else, as most are, from the upstream's JSON to ours without a message between them.

What is there always in ours, and in which order, is taken from what the codec makes of such an answer. Whatever has to be decoded to be
judged, repaired or told apart is left to the detour over the message, which makes the same of this.
"""

from typing import Final

import orjson

from trivet.content.v1.chat_completion_pb2 import (
    ChatChoice,
    ChatCompletion,
    ChatCompletionMessage,
    ChatUsage,
    CompletionTokensDetails,
    PromptTokensDetails,
)
from trivet.kernel.codec.message_codec import codec_for
from trivet.model_service.adapters.openai_chat_plain import Json, is_plain, usage_of
from trivet.model_service.faces.rendered import RenderedAnswer, told_usage

_ENCODED: Final[Json] = codec_for(ChatCompletion).encode(
    ChatCompletion(choices=[ChatChoice(message=ChatCompletionMessage(role="assistant"))], usage=ChatUsage())
)
_LIKE: Final = {key: value for key, value in _ENCODED.items() if key not in ("choices", "usage")}
_CHOICE: Final[Json] = _ENCODED["choices"][0]
_MESSAGE: Final[Json] = _CHOICE["message"]
_USAGE: Final[Json] = _ENCODED["usage"]

_PLAIN: Final = frozenset({"id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"})
_OTHERS: Final = frozenset(field.name for field in ChatCompletion.DESCRIPTOR.fields) - _PLAIN
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_NO_DETAILS: Final[Json] = {}
_DETAILS: Final = {
    "prompt_tokens_details": frozenset(PromptTokensDetails.DESCRIPTOR.fields_by_name),
    "completion_tokens_details": frozenset(CompletionTokensDetails.DESCRIPTOR.fields_by_name),
}


def rendered_completion(answer: Json, model: str) -> RenderedAnswer | None:
    """The answer with the name that its caller has for the `model`; None for one that needs the detour."""
    choices, used = answer["choices"], answer.get("usage")
    if type(choices) is not list or len(choices) != 1 or not is_plain(choice := choices[0]):
        return None
    if not (_is_headed(answer) and _OTHERS.isdisjoint(answer) and _is_judged(choice)):
        return None
    told, usage = {**_LIKE, **answer, "model": model}, None
    if used is not None:
        if type(used) is not dict or (usage := usage_of(used)) is None or not _has_counts(used):
            return None
        told["usage"] = {**_USAGE, **used}
    message = {**_MESSAGE, **choice["message"]}
    # A server that has the older form of a call says so beside a text, too.
    message.pop("function_call", None)
    message["role"] = message["role"] or "assistant"
    told["choices"] = [{**_CHOICE, **choice, "message": message}]
    try:
        return RenderedAnswer(orjson.dumps(told), told_usage(usage))
    except orjson.JSONEncodeError:
        # Something beside the answer is nested too deeply.
        return None


def _is_headed(answer: Json) -> bool:
    """Whether it has the id and the time that we would have to give it, and what else it says of itself is of its type."""
    name, created = answer.get("id"), answer.get("created")
    if type(name) is not str or not name or type(created) is not int or not 0 < created < 2**63:
        return False
    tier, fingerprint = answer.get("service_tier"), answer.get("system_fingerprint")
    return (
        type(answer.get("model", "")) is str
        and (tier is None or type(tier) is str)
        and (fingerprint is None or type(fingerprint) is str)
    )


def _is_judged(choice: Json) -> bool:
    """Whether what a plain answer may leave out, or have wrong, is there and right."""
    reason = choice.get("finish_reason")
    return type(choice.get("index")) is int and (reason is None or type(reason) is str)


def _has_counts(used: Json) -> bool:
    """Whether the usage has its numbers, and none that one reader counts and another does not."""
    for key in _COUNTS:
        if (count := used.get(key)) is not None and type(count) is not int:
            return False
    for key, known in _DETAILS.items():
        for name, count in (used.get(key) or _NO_DETAILS).items():
            if name in known and count is not None and (type(count) is not int or not 0 <= count < 2**63):
                return False
    return "prompt_cache_hit_tokens" not in used
