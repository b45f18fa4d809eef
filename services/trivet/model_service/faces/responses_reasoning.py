"""Reasoning of a response while it comes."""

from typing import Any

from trivet.model.v1 import response_item_pb2 as pb
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.turn import ReasoningDelta, ReasoningEnded, TurnEvent
from trivet.model_service.faces.responses_output import OutputItem
from trivet.model_service.faces.responses_telling import Telling


class ReasoningOutput(OutputItem):
    """What the model thought: its own text, and summaries, each run of one of them a part."""

    def __init__(self, telling: Telling) -> None:
        item_id = new_id("rs")
        super().__init__(telling, pb.Item(reasoning=pb.ReasoningItem(id=item_id, status="in_progress")), item_id)
        self._reasoning = self.item.reasoning
        self._summary: int | None = None
        self._text: list[str] = []
        self._in_part = False

    def feed(self, event: TurnEvent) -> None:
        match event:
            case ReasoningDelta():
                if not self._in_part or self._summary != event.summary_index:
                    self._end_part()
                    self._begin_part(event.summary_index)
                self._text.append(event.text)
                self._add("reasoning_text_delta" if self._summary is None else "reasoning_summary_text_delta").delta = event.text
            case ReasoningEnded(encrypted):
                self.ended = True
                if encrypted:
                    self._reasoning.encrypted_content = encrypted

    def _end(self, status: str) -> None:
        self._end_part()
        self._reasoning.status = status

    def _begin_part(self, summary: int | None) -> None:
        self._in_part, self._summary = True, summary
        if summary is None:
            part, added = self._reasoning.content.add(), "content_part_added"
            part.reasoning_text.SetInParent()
        else:
            part, added = self._reasoning.summary.add(), "reasoning_summary_part_added"
            part.summary_text.SetInParent()
        self._add(added).part.CopyFrom(part)

    def _end_part(self) -> None:
        if not self._in_part:
            return
        whole = "".join(self._text)
        self._text.clear()
        self._in_part = False
        if self._summary is None:
            part = self._reasoning.content[-1]
            part.reasoning_text.text = whole
            self._add("reasoning_text_done").text = whole
            self._add("content_part_done").part.CopyFrom(part)
        else:
            part = self._reasoning.summary[-1]
            part.summary_text.text = whole
            self._add("reasoning_summary_text_done").text = whole
            self._add("reasoning_summary_part_done").part.CopyFrom(part)

    def _add(self, kind: str) -> Any:
        said = super()._add(kind)
        if self._summary is None:
            said.content_index = len(self._reasoning.content) - 1
        else:
            said.summary_index = len(self._reasoning.summary) - 1
        return said
