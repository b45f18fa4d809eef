"""The model of a run: each turn is one StreamChatCompletion of ModelService, and the conversation grows with each."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import grpc

from trivet.content.v1 import chat_completion_pb2, chat_message_pb2, chat_request_pb2
from trivet.content.v1.chat_tool_pb2 import ToolInfo
from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.codec.runs import ACCEPTED, More
from trivet.kernel.loop import ToolCall, ToolOutcome
from trivet.model.v1 import model_service_pb2_grpc

Batch = chat_completion_pb2.ChatCompletionChunkBatch
ModelStub = model_service_pb2_grpc.ModelServiceStub

_SHARED: Final[tuple[Literal["service_tier", "system_fingerprint"], ...]] = ("service_tier", "system_fingerprint")
_ACCEPTING_RUNS: Final = (ACCEPTED,)

# Reasons after which no call is run: the model was cut off, and so may be the arguments.
_CUT_OFF = frozenset({"length", "content_filter"})


class ChatConversation:
    """A run's conversation, as the chat messages that ModelService is asked with.

    `request` is the request of the first model call; it is changed as the run goes on. `infos` tell, by the name that the model
    calls, what callers are told of a tool. `more` takes text that goes on, for a caller who is told it as it comes.
    """

    def __init__(
        self,
        stub: ModelStub,
        request: chat_request_pb2.CreateChatCompletionRequest,
        infos: Mapping[str, ToolInfo],
        more: More | None = None,
    ) -> None:
        self.infos = infos
        self.more = more
        self._stub = stub
        self._request = request
        self._asked_with = len(request.messages)
        self._told: dict[str, str] = {}
        self.usage: chat_completion_pb2.ChatUsage | None = None
        self.last: ChatTurn | None = None

    @property
    def added(self) -> Sequence[chat_message_pb2.ChatMessage]:
        """The messages that the run has added: the model's calls and the tools' results."""
        return self._request.messages[self._asked_with :]

    def turn(self) -> "ChatTurn":
        """Ask the model to go on with the conversation."""
        if self.last is not None:
            # A choice that forces a call is meant for the first turn; forced again, the model could never answer.
            self._request.ClearField("tool_choice")
        self.last = ChatTurn(self._stub, self._request, self)
        return self.last

    def drop_what_was_told(self, batch: Batch) -> None:
        """Leave of what all chunks share only what is new: each turn says it anew, and the caller has heard it."""
        for name in _SHARED:
            if batch.HasField(name):
                said = getattr(batch, name)
                if self._told.get(name) == said:
                    batch.ClearField(name)
                self._told[name] = said

    def begin_message(self) -> chat_message_pb2.AssistantMessage:
        """A place in the conversation for a model's message that calls tools."""
        return self._request.messages.add().assistant

    def add_outcome(self, call: ToolCall, outcome: ToolOutcome) -> None:
        """Take the result of a tool call into the conversation."""
        message = self._request.messages.add().tool
        message.content.text = outcome.content
        message.tool_call_id = call.id

    def add_usage(self, usage: chat_completion_pb2.ChatUsage) -> None:
        """Add the usage of a model call to the run's."""
        if self.usage is None:
            self.usage = chat_completion_pb2.ChatUsage()
        _add_counts(self.usage, usage)


@dataclass(slots=True)
class _CallParts:
    """A tool call as far as its deltas have come."""

    id: str = ""
    name: str = ""
    extra: str = ""
    arguments: list[str] = field(default_factory=list)


class ChatTurn:
    """One model call: passes on the chunks of the answer, with the tool behind each call, and gathers the message that they make.

    The chunk that ends the answer and the usage are kept back, because how the run ends them is the run's to say. `ended` says
    that no more chunks come after the batch that was yielded last.
    """

    def __init__(
        self, stub: ModelStub, request: chat_request_pb2.CreateChatCompletionRequest, conversation: ChatConversation
    ) -> None:
        self._stub = stub
        self._request = request
        self._conversation = conversation
        self._parts: dict[int, _CallParts] = {}
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._details: list[str] = []
        self._logprobs: chat_completion_pb2.ChatLogprobs | None = None
        self._counted = False
        self.ended = False
        self.finish_reason = ""
        self.calls: Sequence[ToolCall] = ()

    @property
    def is_last(self) -> bool:
        """Never: a run has all of its tools itself."""
        return False

    async def batches(self) -> AsyncGenerator[Batch]:
        """The model's chunks as they come, without the end of the answer and without usage."""
        # What our channels give, whichever it is, is a `StreamCall`.
        stream: Any = self._stub.StreamChatCompletion(self._request, metadata=_ACCEPTING_RUNS)
        last: Batch | None = None
        reader = None if self._conversation.more is None else _Listening(self, self._conversation.more)
        try:
            while isinstance(batch := await stream.read(reader), Batch):
                passed = self._passed(batch)
                if not passed.chunks:
                    continue
                if last is not None:
                    yield last
                    last = None
                if self.finish_reason and self._counted:
                    # Nothing is left to come but the end of the stream, which then is told together with this.
                    last = passed
                else:
                    yield passed
        except grpc.aio.AioRpcError as error:
            if last is not None:
                yield last
            raise from_rpc_error(error) from error
        finally:
            stream.cancel()
        self._end()
        self.ended = True
        if last is not None:
            yield last

    def add_texts(self, texts: Iterable[str]) -> None:
        """Take note of text that its caller has been told."""
        self._text.extend(texts)

    def message(self) -> chat_completion_pb2.ChatCompletionMessage:
        """The whole message of the answer."""
        message = chat_completion_pb2.ChatCompletionMessage(role="assistant")
        if self._text:
            message.content = "".join(self._text)
        if self._refusal:
            message.refusal = "".join(self._refusal)
        if self._reasoning:
            message.reasoning_content = "".join(self._reasoning)
        message.reasoning_details.extend(self._details)
        return message

    @property
    def logprobs(self) -> chat_completion_pb2.ChatLogprobs | None:
        """The log probabilities of the whole answer, when the model told them."""
        return self._logprobs if self._logprobs is not None and self._logprobs.ByteSize() else None

    def _passed(self, batch: Batch) -> Batch:
        """What of a message of the model goes on to the caller, under the run's own id; itself, where that is all of it."""
        if not self.finish_reason and _is_text(batch):
            self._text += batch.chunks[0].contents
            return batch
        # What was sent is not to be changed.
        passed = Batch()
        passed.CopyFrom(batch)
        passed.ClearField("id")
        passed.ClearField("created")
        passed.ClearField("model")
        chunks = passed.chunks
        position = 0
        while position < len(chunks):
            if self._take(chunks[position]):
                position += 1
            else:
                del chunks[position]
        if chunks:
            self._conversation.drop_what_was_told(passed)
        return passed

    def _take(self, chunk: chat_completion_pb2.ChatCompletionChunk) -> bool:
        """Gather what `chunk` adds. False: nothing is left of it to pass on."""
        if chunk.HasField("usage") and not self._count(chunk):
            return False
        self._text.extend(chunk.contents)
        for choice in chunk.choices:
            delta = choice.delta
            if calls := delta.tool_calls:
                self._gather_calls(calls)
            if text := delta.content:
                self._text.append(text)
            if text := delta.reasoning_content:
                self._reasoning.append(text)
            if text := delta.refusal:
                self._refusal.append(text)
            self._details.extend(delta.reasoning_details)
            if choice.HasField("logprobs"):
                self._add_logprobs(choice.logprobs)
            if choice.HasField("finish_reason"):
                self.finish_reason = choice.finish_reason
                choice.ClearField("finish_reason")
                return bool(delta.ByteSize())
        return True

    def _count(self, chunk: chat_completion_pb2.ChatCompletionChunk) -> bool:
        """Keep the usage. False: nothing else is in the chunk."""
        self._conversation.add_usage(chunk.usage)
        self._counted = True
        chunk.ClearField("usage")
        return bool(chunk.choices or chunk.contents)

    def _gather_calls(self, calls: Iterable[chat_completion_pb2.ChatToolCallDelta]) -> None:
        for call in calls:
            function = call.function
            parts = self._parts.get(call.index)
            if parts is None:
                # What a provider adds to a call (a signature, say) comes with its first piece, and is wanted back.
                parts = self._parts[call.index] = _CallParts(extra=call.extra)
            if name := function.name:
                parts.name = parts.name or name
                if (info := self._conversation.infos.get(name)) is not None:
                    call.tool_info.CopyFrom(info)
            parts.id = parts.id or call.id
            parts.arguments.append(function.arguments)

    def _add_logprobs(self, told: chat_completion_pb2.ChatLogprobs) -> None:
        if self._logprobs is None:
            self._logprobs = chat_completion_pb2.ChatLogprobs()
        self._logprobs.content.tokens.extend(told.content.tokens)
        self._logprobs.refusal.tokens.extend(told.refusal.tokens)

    def _end(self) -> None:
        """The answer is complete: if it calls tools, the calls are to be run."""
        if not self._parts or self.finish_reason in _CUT_OFF:
            return
        self.finish_reason = "tool_calls"
        ordered = [self._parts[index] for index in sorted(self._parts)]
        self.calls = [ToolCall(parts.id, parts.name, "".join(parts.arguments)) for parts in ordered]
        self._write(self._conversation.begin_message(), ordered)

    def _write(self, message: chat_message_pb2.AssistantMessage, ordered: Sequence[_CallParts]) -> None:
        """Makes `message` the answer with its calls."""
        if self._text:
            message.content.text = "".join(self._text)
        if self._reasoning:
            message.reasoning_content = "".join(self._reasoning)
        # Without its signed reasoning a thinking model would refuse the results of its calls.
        message.reasoning_details.extend(self._details)
        for parts, call in zip(ordered, self.calls, strict=True):
            made = message.tool_calls.add().function
            made.id, made.extra = call.id, parts.extra
            made.function.name, made.function.arguments = call.name, call.arguments


class _Listening:
    """The `Reader` of a model's stream: passes text that goes on to the run's caller, and has the turn take note of it."""

    def __init__(self, turn: ChatTurn, more: More) -> None:
        self._turn = turn
        self._more = more

    def more(self, texts: list[str]) -> bool:
        """See `Reader.more`. Behind the end of an answer, what comes waits for how the run ends it."""
        if self._turn.finish_reason or not self._more(texts):
            return False
        self._turn.add_texts(texts)
        return True

    def message(self, message: object) -> bool:
        """Never: of a message the turn sees to more than its text."""
        del message
        return False


def _is_text(batch: Batch) -> bool:
    """Whether a message of the model is one run of text and nothing else, as nearly all are."""
    if len(batch.ListFields()) != 1 or len(batch.chunks) != 1:
        return False
    (chunk,) = batch.chunks
    return len(chunk.ListFields()) == 1 and bool(chunk.contents)


def _add_counts(total: chat_completion_pb2.ChatUsage, usage: chat_completion_pb2.ChatUsage) -> None:
    total.prompt_tokens += usage.prompt_tokens
    total.completion_tokens += usage.completion_tokens
    total.total_tokens += usage.total_tokens
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if usage.HasField(name):
            details, sums = getattr(usage, name), getattr(total, name)
            for field_descriptor, value in details.ListFields():
                if isinstance(value, int):
                    setattr(sums, field_descriptor.name, getattr(sums, field_descriptor.name) + value)
