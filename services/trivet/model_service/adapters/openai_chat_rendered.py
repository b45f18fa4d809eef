"""A whole answer that is one text and nothing else, as most are, from the upstream's JSON to ours without a message between them.

What is there always in ours, and in which order, is taken from what the codec makes of such an answer. Whatever has to be decoded to be
judged, repaired or told apart is left to the detour over the message, which makes the same of this.
"""

from functools import cache
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

_PLAIN: Final = frozenset({"id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"})
_OTHERS: Final = frozenset(field.name for field in ChatCompletion.DESCRIPTOR.fields) - _PLAIN
_DETAILS: Final = {
    "prompt_tokens_details": frozenset(PromptTokensDetails.DESCRIPTOR.fields_by_name),
    "completion_tokens_details": frozenset(CompletionTokensDetails.DESCRIPTOR.fields_by_name),
}


def rendered_completion(answer: Json, model: str) -> RenderedAnswer | None:
    """The answer with the name that its caller has for the `model`; None for one that needs the detour."""
    choices, used = answer["choices"], answer.get("usage")
    if type(choices) is not list or len(choices) != 1 or not is_plain(choice := choices[0]) or not _is_judged(answer, choice):
        return None
    like, like_choice, like_message, like_usage = _template()
    told, usage = {**like, **answer, "model": model}, None
    if used is not None:
        if type(used) is not dict or (usage := usage_of(used)) is None or not _has_counts(used):
            return None
        told["usage"] = {**like_usage, **used}
    message = {**like_message, **choice["message"]}
    # A server that has the older form of a call says so beside a text, too.
    message.pop("function_call", None)
    message["role"] = message["role"] or "assistant"
    told["choices"] = [{**like_choice, **choice, "message": message}]
    try:
        return RenderedAnswer(orjson.dumps(told), told_usage(usage))
    except orjson.JSONEncodeError:
        # Something beside the answer is nested too deeply.
        return None


def _is_judged(answer: Json, choice: Json) -> bool:
    """Whether it has the id, the time and the place that we would have to give it, and all else that it says of itself is right."""
    name, created, reason = answer.get("id"), answer.get("created"), choice.get("finish_reason")
    if type(name) is not str or not name or type(created) is not int or not 0 < created < 2**63:
        return False
    if type(choice.get("index")) is not int or (reason is not None and type(reason) is not str):
        return False
    tier, fingerprint = answer.get("service_tier"), answer.get("system_fingerprint")
    if (tier is not None and type(tier) is not str) or (fingerprint is not None and type(fingerprint) is not str):
        return False
    return type(answer.get("model", "")) is str and _OTHERS.isdisjoint(answer)


def _has_counts(used: Json) -> bool:
    """Whether the details of the usage are numbers, and none is there that one reader counts and another does not."""
    for key, known in _DETAILS.items():
        if details := used.get(key):
            for name, count in details.items():
                if name in known and count is not None and (type(count) is not int or not 0 <= count < 2**63):
                    return False
    return "prompt_cache_hit_tokens" not in used


@cache
def _template() -> tuple[Json, Json, Json, Json]:
    """An answer without its choices and its usage; a choice, its message, and a usage."""
    sample = ChatCompletion(choices=[ChatChoice(message=ChatCompletionMessage(role="assistant"))], usage=ChatUsage())
    told: Json = codec_for(ChatCompletion).encode(sample)
    (choice,), usage = told.pop("choices"), told.pop("usage")
    return told, choice, choice["message"], usage
