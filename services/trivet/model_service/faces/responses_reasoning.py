"""Reasoning of a response while it comes."""

from collections.abc import Iterator
from typing import Any

from trivet.model.v1 import response_content_pb2 as content
from trivet.model.v1 import response_event_body_pb2 as body
from trivet.model.v1 import response_item_pb2 as pb
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.turn import ReasoningDelta, ReasoningEnded, TurnEvent
from trivet.model_service.faces.responses_output import OutputItem


class ReasoningOutput(OutputItem):
    """What the model thought: its own text, and summaries, each run of one of them a part."""

    def __init__(self, sequence: Iterator[int]) -> None:
        item_id = new_id("rs")
        super().__init__(sequence, pb.Item(reasoning=pb.ReasoningItem(id=item_id, status="in_progress")), item_id)
        self._reasoning = self.item.reasoning
        self._summary: int | None = None
        self._text: list[str] = []
        self._in_part = False

    def feed(self, event: TurnEvent) -> Iterator[ResponseEvent]:
        match event:
            case ReasoningDelta():
                if not self._in_part or self._summary != event.summary_index:
                    yield from self._end_part()
                    yield self._begin_part(event.summary_index)
                self._text.append(event.text)
                yield self._delta(event.text)
            case ReasoningEnded(encrypted):
                self.ended = True
                if encrypted:
                    self._reasoning.encrypted_content = encrypted

    def _end(self, status: str) -> Iterator[ResponseEvent]:
        yield from self._end_part()
        self._reasoning.status = status

    def _begin_part(self, summary: int | None) -> ResponseEvent:
        self._in_part, self._summary = True, summary
        if summary is None:
            part = content.ContentPart(reasoning_text=content.PlainText())
            self._reasoning.content.append(part)
            return ResponseEvent(content_part_added=body.ContentPartEvent(part=part, **self._place()))
        part = content.ContentPart(summary_text=content.PlainText())
        self._reasoning.summary.append(part)
        return ResponseEvent(reasoning_summary_part_added=body.SummaryPartEvent(part=part, **self._place()))

    def _delta(self, text: str) -> ResponseEvent:
        if self._summary is None:
            return ResponseEvent(reasoning_text_delta=body.ContentDeltaEvent(delta=text, **self._place()))
        return ResponseEvent(reasoning_summary_text_delta=body.SummaryTextDeltaEvent(delta=text, **self._place()))

    def _end_part(self) -> Iterator[ResponseEvent]:
        if not self._in_part:
            return
        whole = "".join(self._text)
        self._text.clear()
        self._in_part = False
        if self._summary is None:
            part = self._reasoning.content[-1]
            part.reasoning_text.text = whole
            yield ResponseEvent(reasoning_text_done=body.ContentTextDoneEvent(text=whole, **self._place()))
            yield ResponseEvent(content_part_done=body.ContentPartEvent(part=part, **self._place()))
        else:
            part = self._reasoning.summary[-1]
            part.summary_text.text = whole
            yield ResponseEvent(reasoning_summary_text_done=body.SummaryTextDoneEvent(text=whole, **self._place()))
            yield ResponseEvent(reasoning_summary_part_done=body.SummaryPartEvent(part=part, **self._place()))

    def _place(self) -> dict[str, Any]:
        place = {"sequence_number": next(self._sequence), "item_id": self.item_id, "output_index": self.output_index}
        if self._summary is None:
            return place | {"content_index": len(self._reasoning.content) - 1}
        return place | {"summary_index": len(self._reasoning.summary) - 1}
