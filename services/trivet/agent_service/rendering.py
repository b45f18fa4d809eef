"""Renders a run as its caller sees it: a stream of chat chunks extended with tool results, or one whole completion."""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from trivet.agent_service.conversation import Batch, ChatConversation, ChatTurn
from trivet.agent_service.toolbox import RunTools
from trivet.content.v1 import chat_completion_pb2
from trivet.kernel.loop import CallFinished, RunFinished, Streamed, run


class AgentRun:
    """One run: `stream` or `complete` it, once."""

    def __init__(self, conversation: ChatConversation, tools: RunTools, model: str, limit: int) -> None:
        self._conversation = conversation
        self._tools = tools
        self._infos = tools.offer.infos
        self._model = model
        self._limit = limit
        self._id = "chatcmpl-" + secrets.token_hex(16)
        self._created = int(time.time())

    async def stream(self, *, include_usage: bool) -> AsyncGenerator[Batch]:
        """The run as batches of chunks, in the order of the contract; the last chunk tells how the run went."""
        begun = False
        turn: ChatTurn | None = None
        last = Batch()
        async with aclosing(run(self._conversation, self._tools, self._limit)) as events:
            async for event in events:
                match event:
                    case Streamed(batch):
                        turn = self._conversation.last
                        out = self._chunks(batch, calling=turn is not None and turn.calling)
                        if turn is not None and turn.ended and not turn.calls:
                            last = out
                            continue
                    case CallFinished(call, outcome):
                        out = Batch()
                        if turn is not None:
                            _finish(out, turn)
                            turn = None
                        delta = out.chunks.add().choices.add().delta
                        delta.role, delta.tool_call_id, delta.content = "tool", call.id, outcome.content
                    case RunFinished():
                        out = last
                        self._end(out, event, include_usage=include_usage)
                if not begun:
                    out.id, out.created, out.model = self._id, self._created, self._model
                    begun = True
                yield out

    async def complete(self) -> chat_completion_pb2.ChatCompletion:
        """The run to its end: the final message, with the run's earlier messages beside it."""
        ended: RunFinished | None = None
        completion = chat_completion_pb2.ChatCompletion(id=self._id, created=self._created, model=self._model)
        async with aclosing(run(self._conversation, self._tools, self._limit)) as events:
            async for event in events:
                if isinstance(event, RunFinished):
                    ended = event
                elif isinstance(event, Streamed):
                    _take_header(completion, event.batch)
        turn = self._conversation.last
        if ended is None or turn is None:
            raise AssertionError("a run that did not fail has a last turn and an end")
        choice = completion.choices.add()
        choice.message.CopyFrom(turn.message() if ended.stopped_by == "model" else _nothing())
        choice.finish_reason = _finish_reason(ended, turn)
        if turn.logprobs is not None:
            choice.logprobs.CopyFrom(turn.logprobs)
        completion.messages.extend(self._conversation.added)
        self._name_tools(completion)
        if self._conversation.usage is not None:
            completion.usage.CopyFrom(self._conversation.usage)
        completion.run.CopyFrom(_run_info(ended))
        return completion

    def _chunks(self, batch: Batch, *, calling: bool) -> Batch:
        """The model's chunks under the run's own id, with the tool behind each call that begins, if any has."""
        for name in ("id", "created", "model"):
            batch.ClearField(name)
        for chunk in batch.chunks if calling else ():
            for choice in chunk.choices:
                for call in choice.delta.tool_calls:
                    if (info := self._infos.get(call.function.name)) is not None:
                        call.tool_info.CopyFrom(info)
        return batch

    def _end(self, out: Batch, ended: RunFinished, *, include_usage: bool) -> None:
        """Adds to the run's last message how it ended."""
        turn = self._conversation.last
        last = out.chunks.add()
        choice = last.choices.add()
        choice.delta.SetInParent()
        choice.finish_reason = _finish_reason(ended, turn)
        usage = self._conversation.usage
        if include_usage and usage is not None:
            last = out.chunks.add()
            last.usage.CopyFrom(usage)
        last.run.CopyFrom(_run_info(ended))

    def _name_tools(self, completion: chat_completion_pb2.ChatCompletion) -> None:
        for message in completion.messages:
            for call in message.assistant.tool_calls:
                if (info := self._infos.get(call.function.function.name)) is not None:
                    call.function.tool_info.CopyFrom(info)


def _finish(out: Batch, turn: ChatTurn) -> None:
    """Ends a turn that calls tools, before the first result."""
    choice = out.chunks.add().choices.add()
    choice.delta.SetInParent()
    choice.finish_reason = turn.finish_reason


def _finish_reason(ended: RunFinished, turn: ChatTurn | None) -> str:
    if ended.stopped_by == "iteration_limit":
        return "length"
    reason = turn.finish_reason if turn is not None else ""
    # A model may say that it calls tools, and call none: whoever believed it would wait for results.
    return "stop" if reason in ("", "tool_calls", "function_call") else reason


def _nothing() -> chat_completion_pb2.ChatCompletionMessage:
    """The final message of a run that the limit ended: what the model said stands among the run's messages."""
    return chat_completion_pb2.ChatCompletionMessage(role="assistant")


def _run_info(ended: RunFinished) -> chat_completion_pb2.RunInfo:
    return chat_completion_pb2.RunInfo(iterations=ended.iterations, stopped_by=ended.stopped_by)


def _take_header(completion: chat_completion_pb2.ChatCompletion, batch: Batch) -> None:
    for name in ("service_tier", "system_fingerprint"):
        if batch.HasField(name):
            setattr(completion, name, getattr(batch, name))
