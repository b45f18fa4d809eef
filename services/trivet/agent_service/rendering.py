"""Renders a run as its caller sees it: a stream of chat chunks extended with tool results, or one whole completion."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from trivet.agent_service.conversation import Batch, ChatConversation, ChatTurn
from trivet.agent_service.toolbox import RunTools
from trivet.content.v1 import chat_completion_pb2
from trivet.kernel.chance import hex_digits
from trivet.kernel.loop import CallFinished, LoopEvent, RunFinished, Streamed, ToolCall, ToolOutcome, run


class AgentRun:
    """One run: its `events` rendered as `chunks`, or `complete` it, once."""

    def __init__(
        self,
        conversation: ChatConversation,
        tools: RunTools,
        model: str,
        limit: int,
        *,
        at_once: int,
        include_usage: bool = False,
    ) -> None:
        self._conversation = conversation
        self._tools = tools
        self._model = model
        self._limit = limit
        self._at_once = at_once
        self._include_usage = include_usage
        self._id = f"chatcmpl-{hex_digits()}"
        self._created = int(time.time())
        self._begun = False
        self._turn: ChatTurn | None = None
        self._last: Batch | None = None

    def events(self) -> AsyncGenerator[LoopEvent[Batch, ToolOutcome]]:
        """What happens in the run, in the order of the contract. Closing the iterator ends it."""
        return run(self._conversation, self._tools, self._limit, self._at_once)

    def chunks(self, event: LoopEvent[Batch, ToolOutcome]) -> Batch | None:
        """What its caller is told of the next one of `events`; None if that is told with what comes next.

        The last chunk tells how the run went.
        """
        if isinstance(event, Streamed):
            told = self._streamed(event.batch)
        elif isinstance(event, CallFinished):
            told = self._finished(event.call, event.outcome)
        else:
            told = self._ended(event)
        if told is None or self._begun:
            return told
        self._begun = True
        first = Batch(id=self._id, created=self._created, model=self._model)
        first.MergeFrom(told)
        return first

    def _streamed(self, batch: Batch) -> Batch | None:
        self._turn = turn = self._conversation.last
        if turn is not None and turn.ended and not turn.calls:
            self._last = batch
            return None
        return batch

    def _finished(self, call: ToolCall, outcome: ToolOutcome) -> Batch:
        """The result of a call, the first of a turn after the end of that."""
        out = Batch()
        if self._turn is not None:
            _finish(out, self._turn.finish_reason)
            self._turn = None
        delta = out.chunks.add().choices.add().delta
        delta.role, delta.tool_call_id, delta.content = "tool", call.id, outcome.content
        return out

    def _ended(self, ended: RunFinished) -> Batch:
        """How the run ended, behind what was kept back for that."""
        out = self._last or Batch()
        last = _finish(out, _finish_reason(ended, self._conversation.last))
        if self._include_usage and self._conversation.usage is not None:
            last = out.chunks.add()
            last.usage.CopyFrom(self._conversation.usage)
        last.run.CopyFrom(_run_info(ended))
        return out

    async def complete(self) -> chat_completion_pb2.ChatCompletion:
        """The run to its end: the final message, with the run's earlier messages beside it."""
        ended: RunFinished | None = None
        completion = chat_completion_pb2.ChatCompletion(id=self._id, created=self._created, model=self._model)
        async with aclosing(self.events()) as events:
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

    def _name_tools(self, completion: chat_completion_pb2.ChatCompletion) -> None:
        for message in completion.messages:
            for call in message.assistant.tool_calls:
                if (info := self._conversation.infos.get(call.function.function.name)) is not None:
                    call.function.tool_info.CopyFrom(info)


def _finish(out: Batch, reason: str) -> chat_completion_pb2.ChatCompletionChunk:
    """Adds the chunk that ends a message."""
    chunk = out.chunks.add()
    choice = chunk.choices.add()
    choice.delta.SetInParent()
    choice.finish_reason = reason
    return chunk


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
