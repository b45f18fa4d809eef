"""What is to be asked for a response: its request, with all that it goes on from looked up."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from trivet.kernel.errors import InternalError, InvalidRequest, UnsupportedParameter
from trivet.model.v1.response_item_pb2 import Item, ResponseInput
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.seals import is_seal
from trivet.model_service.domain.store import Store, StoredResponse
from trivet.model_service.faces.responses_echo import Begun
from trivet.model_service.faces.responses_request import given_by
from trivet.model_service.responses.assembly import unmake
from trivet.model_service.responses.background_options import check_background_options
from trivet.model_service.responses.history import History, own_input, pack_input
from trivet.model_service.responses.item_ids import item_id, item_ids, own, own_text, refuse_long_id
from trivet.model_service.responses.keeping.records import response_of
from trivet.model_service.responses.mcp.history import Names, has_mcp_items, model_items
from trivet.model_service.responses.metadata import check_metadata
from trivet.model_service.turns import NOT_NATIVE, ModelTurns, Native, Serving

UNSTORED_SECONDS: Final = 600
"""How long a background response that is not to be stored can be asked for."""

_OURS: Final = ("previous_response_id", "conversation", "background", "background_options", "store")
"""Parameters that are answered here, and say nothing to a provider."""

_TELLING: Final = tuple(name for name in _OURS if name != "store")
"""Those that a dialect would take notice of."""

_PLAIN: Final = frozenset(
    {field.name for field in CreateResponseRequest.DESCRIPTOR.fields if field.message_type is None}
    - {*_TELLING, "truncation", "extra"}
    | {"input", "metadata"}
)
"""Fields that have nothing in them for anybody but the model: texts, numbers and switches that ask for nothing that is done here."""

_TOLD_ALONG: Final = frozenset({"include", "metadata"})
"""Those of them that have to be looked at here all the same."""

_GENERATE: Final = "generate"
"""A key beside the contract: false asks for a response that no model is asked for, to go on from."""


@dataclass(slots=True)
class Plan:
    """A response to be made for `owner`. Nobody changes a plan.

    `request` is as the caller sent it, `told` the response as it begins. `history` is what it goes on from, `items` its own
    input, None for one that is a text. `native` tells how the providers speak the Responses API themselves; `runs_mcp`: they call
    the tools of MCP servers by themselves. `is_plain`: the request is a text, and nothing is asked for by it but a model's answer.
    `is_warm_up`: no model is asked, the response is only there to be gone on from.
    """

    owner: str
    request: CreateResponseRequest
    told: Response
    history: Sequence[Item]
    items: Sequence[Item] | None
    native: Native = NOT_NATIVE
    runs_mcp: bool = False
    is_plain: bool = False
    is_warm_up: bool = False

    @property
    def input(self) -> Sequence[Item]:
        """Its own input, each item with an id. What is a text becomes an item when somebody asks: who keeps the response does."""
        if self.items is None:
            self.items = [own_text(self.request.input.text)]
        return self.items

    @property
    def kept(self) -> bool:
        """Whether the response is stored, if only for as long as it takes to be asked for."""
        return self.told.store or self.told.background

    @property
    def is_remembered(self) -> bool:
        """Whether the response, or what it adds to a conversation, is stored."""
        told = self.told
        return told.store or told.background or told.HasField("conversation")


def is_fleeting(given: Mapping[str, Any]) -> bool:
    """Whether a request with these fields is a text that only asks for a model's answer, of which nothing is kept: there is nothing to plan.

    Of what is not kept, nobody wants the reasoning to be kept, so it makes no difference who serves.
    """
    return not given.get("store", True) and _is_plain(given) and _TOLD_ALONG.isdisjoint(given)


def _is_plain(given: Mapping[str, Any]) -> bool:
    return given.keys() <= _PLAIN and given["input"].WhichOneof("kind") == "text"


class Planner:
    """Makes plans, and finds in `store` what they go on from."""

    def __init__(self, turns: ModelTurns, store: Store) -> None:
        self._turns = turns
        self._history = History(store)

    async def plan(self, request: CreateResponseRequest, owner: str, given: Mapping[str, Any] | None = None) -> Plan:
        """The plan for a new request; `given` are its fields, for who has them already.

        Raises:
            ModelNotFound, PreviousResponseNotFound, ConversationNotFound: what it names is not there, or not the owner's.
            InvalidRequest: its parameters do not go together, or it refers to items that are not there.
            UnsupportedParameter: it asks for what only other providers have, or none.
        """
        if given is None:
            given = given_by(request)
        if is_fleeting(given):
            return Plan(owner, request, Begun(given).response(), (), None, is_plain=True)
        serving = self._turns.serving(request.model)
        if "metadata" in given:
            check_metadata(request.metadata)
        is_plain = _is_plain(given) and not serving.native.alone
        if not is_plain:
            _judge(request, given, serving)
        told = Begun(given, serving.provider).response()
        if "store" not in given:
            told.store = True
        if is_plain:
            return Plan(owner, request, told, (), None, serving.native, serving.runs_mcp, is_plain=True)
        history = await self._history_of(request, owner)
        items = None if request.input.WhichOneof("kind") == "text" else await self._new_items(request, history, owner)
        plan = Plan(owner, request, told, history, items, serving.native, serving.runs_mcp, is_warm_up=_is_warm_up(request))
        if "conversation" in given:
            _refuse_taken_ids(plan.input, history)
        return plan

    async def again(self, stored: StoredResponse) -> Plan:
        """The plan of a stored background response, for whoever works on it.

        Raises:
            ServiceError: what it goes on from is gone, or its request cannot be read any more.
        """
        if not stored.request:
            raise InternalError
        request = CreateResponseRequest.FromString(stored.request)
        told = response_of(stored)
        unmake(told)
        history = await self._history.before(stored)
        serving = self._turns.serving(request.model)
        return Plan(stored.owner, request, told, history, own_input(stored), serving.native, serving.runs_mcp)

    async def _new_items(self, request: CreateResponseRequest, history: Sequence[Item], owner: str) -> list[Item]:
        """The own input of a request, and in it what it refers to of all that its owner has."""
        items = request.input.items.items
        for index, item in enumerate(items):
            refuse_long_id(item, f"input[{index}]")
        referred = _referred(request.input)
        if not referred:
            return own(items)
        known = set(map(item_id, history))
        return list(_resolved(items, known, await self._history.items(referred - known, owner)))

    async def _history_of(self, request: CreateResponseRequest, owner: str) -> list[Item]:
        if request.HasField("previous_response_id"):
            return await self._history.after(request.previous_response_id, owner)
        if request.HasField("conversation"):
            reference = request.conversation
            return await self._history.of_conversation(reference.id or reference.conversation.id, owner)
        return []


def _judge(request: CreateResponseRequest, given: Container[str], serving: Serving) -> None:
    """Find fault with parameters that don't go together."""
    if "background_options" in given:
        check_background_options(request.background_options)
    if "previous_response_id" in given and "conversation" in given:
        raise InvalidRequest("'conversation' and 'previous_response_id' cannot be given together.", "conversation")
    if "prompt" in given and not serving.native.alone:
        raise UnsupportedParameter("This model's provider does not support 'prompt'.", "prompt")


def _is_warm_up(request: CreateResponseRequest) -> bool:
    return bool(request.extra) and orjson.loads(request.extra).get(_GENERATE) is False


def record_of(plan: Plan, told: Response, *, streamed: bool) -> StoredResponse:
    """What is stored of the response of a plan when it stands as `told`."""
    return StoredResponse(
        id=told.id,
        owner=plan.owner,
        created_at=told.created_at,
        status=told.status,
        input=pack_input(plan.input, plan.history if told.HasField("conversation") else ()),
        response=told.SerializeToString(),
        background=told.background,
        streamed=streamed,
        previous_id=told.previous_response_id,
        conversation_id=told.conversation.id,
        request=plan.request.SerializeToString() if told.background else b"",
        expires_at=0 if told.store else told.created_at + UNSTORED_SECONDS,
        item_ids=item_ids((*plan.input, *told.output)),
    )


def turn_request(plan: Plan, more: Iterable[Item] = (), names: Names | None = None) -> CreateResponseRequest:
    """The request of one turn, with everything in it: the history, the input, and `more`, the items of the response so far.

    `names` are those under which the model is offered the tools of MCP servers.
    """
    request = CreateResponseRequest()
    request.CopyFrom(plan.request)
    for name in _OURS:
        request.ClearField(name)
    if _GENERATE in request.extra:
        request.extra = _without_generate(request.extra)
    more = list(more)
    if more or _is_made_here(plan):
        referred = _referred(plan.request.input)
        items = [*_readable(plan, referred), *more]
        if not plan.runs_mcp:
            items = model_items(items, names)
        del request.input.items.items[:]
        if plan.native.among:
            items = [item for item in items if not _is_lost_thought(item)]
        request.input.items.items.extend(items)
    return request


def sole_request(plan: Plan) -> CreateResponseRequest:
    """`turn_request` for a response of one turn, not to be changed: it is the caller's own request where that says the same."""
    request = plan.request
    says_more = any(map(request.HasField, _TELLING)) or _GENERATE in request.extra
    return turn_request(plan) if says_more or _is_made_here(plan) else request


def _is_made_here(plan: Plan) -> bool:
    """Whether the input that a model is to be given is another one than the caller's."""
    if plan.history:
        return True
    return (not plan.runs_mcp and has_mcp_items(plan.input)) or bool(_referred(plan.request.input))


def _resolved(given: Iterable[Item], known: set[str], found: Mapping[str, Item]) -> Iterator[Item]:
    """The input with what it refers to in its place; what is among the `known`, or came before, is not there once more."""
    for index, item in enumerate(given):
        if not item.HasField("item_reference"):
            (kept,) = own([item])
            known.add(item_id(kept))
            yield kept
        elif (name := item.item_reference.id) not in known:
            if name not in found:
                raise InvalidRequest(f"Invalid 'input[{index}]': there is no item '{name:.80}'.", f"input[{index}]")
            known.add(name)
            yield found[name]


def _refuse_taken_ids(items: Iterable[Item], history: Iterable[Item]) -> None:
    taken = set(map(item_id, history))
    for index, item in enumerate(items):
        name = item_id(item)
        if name in taken:
            raise InvalidRequest(f"Invalid 'input[{index}].id': the conversation has an item '{name:.80}'.", f"input[{index}].id")
        taken.add(name)


def _referred(given: ResponseInput) -> set[str]:
    """The ids of the items that an input refers to."""
    items = given.items.items
    return {item.item_reference.id for item in items if item.HasField("item_reference")} if items else set()


def _readable(plan: Plan, referred: set[str]) -> list[Item]:
    """The history and the input, without what no model but that of another provider can read.

    It stays where the caller gave it: of the rest the caller has not been shown it, and could not leave it out.
    """
    if plan.native.alone:
        return [*plan.history, *plan.input]
    kept = [item for item in plan.history if not _is_sealed_thought(item)] if plan.history else []
    return kept + [item for item in plan.input if not _is_sealed_thought(item) or item_id(item) not in referred]


def _is_lost_thought(item: Item) -> bool:
    """Whether an item is of no use to an upstream that has not kept it: it knows it by no more than an id."""
    return item.HasField("reasoning") and not item.reasoning.encrypted_content and not item.reasoning.content


def _is_sealed_thought(item: Item) -> bool:
    """Whether an item is reasoning that nobody can read but the provider that it is from.

    A seal is none: a dialect opens its own, and passes over all others.
    """
    if not item.HasField("reasoning"):
        return False
    thought = item.reasoning
    encrypted = bool(thought.encrypted_content) and not is_seal(thought.encrypted_content)
    return encrypted and not (thought.content or thought.summary)


def _without_generate(extra: str) -> str:
    rest = {key: value for key, value in orjson.loads(extra).items() if key != _GENERATE}
    return orjson.dumps(rest).decode() if rest else ""
