"""A message of a response while it comes."""

from collections.abc import Sequence
from typing import Any

from trivet.model.v1 import response_content_pb2 as content
from trivet.model.v1 import response_item_pb2 as pb
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.turn import AnnotationAdded, RefusalDelta, TextDelta, TextRun, TokenLogprob, TurnEvent
from trivet.model_service.faces.responses_output import OutputItem
from trivet.model_service.faces.responses_telling import Telling
from trivet.model_service.faces.upstream_json import read_upstream_json


class MessageOutput(OutputItem):
    """The model's message: texts and refusals, each run of one kind a part."""

    def __init__(self, telling: Telling) -> None:
        item_id = new_id("msg")
        empty = content.MessageContent(parts=content.ContentPartList())
        message = pb.Message(id=item_id, role="assistant", status="in_progress", content=empty)
        super().__init__(telling, pb.Item(message=message), item_id)
        self._message = self.item.message
        self._part: content.ContentPart | None = None
        self._text: list[str] = []
        self._index = -1

    def feed(self, event: TurnEvent) -> None:
        match event:
            case TextDelta():
                self._begin_part("output_text")
                self._tell_delta(event)
            case TextRun():
                self._begin_part("output_text")
                self.tell(event.texts)
            case RefusalDelta():
                self._begin_part("refusal")
                self._text.append(event.text)
                self._add("refusal_delta").delta = event.text
            case AnnotationAdded():
                self._begin_part("output_text")
                self._tell_annotation(event)

    def _end(self, status: str) -> None:
        self._end_part()
        self._message.status = status

    @property
    def _parts(self) -> list[content.ContentPart]:
        return self._message.content.parts.parts  # type: ignore[return-value]

    def _begin_part(self, kind: str) -> None:
        if self._part is not None:
            if self._part.WhichOneof("kind") == kind:
                return
            self._end_part()
        parts = self._message.content.parts.parts
        self._part = parts.add()
        getattr(self._part, kind).SetInParent()
        self._index, self.says_text = len(parts) - 1, kind == "output_text"
        self._add("content_part_added").part.CopyFrom(self._part)

    def _end_part(self) -> None:
        if self._part is None:
            return
        whole = "".join(self._text)
        self._text.clear()
        if self._part.HasField("refusal"):
            self._part.refusal.refusal = whole
            self._add("refusal_done").refusal = whole
        else:
            self._part.output_text.text = whole
            done = self._add("output_text_done")
            done.text = whole
            done.logprobs.extend(self._part.output_text.logprobs)
        self._add("content_part_done").part.CopyFrom(self._part)
        self._part, self.says_text = None, False

    def _tell_delta(self, event: TextDelta) -> None:
        self._text.append(event.text)
        said = self._add("output_text_delta")
        said.delta = event.text
        if event.logprobs and self._part is not None:
            said.logprobs.extend(map(logprob_of, event.logprobs))
            self._part.output_text.logprobs.extend(said.logprobs)

    def tell(self, texts: Sequence[str]) -> None:
        self._text += texts
        self._add("output_text_delta").deltas.extend(texts)
        # Each of the texts but the first takes a number of its own.
        self._telling.skip(len(texts) - 1)

    def told(self, texts: Sequence[str]) -> None:
        self._text += texts
        self._telling.skip(len(texts))

    def _tell_annotation(self, event: AnnotationAdded) -> None:
        annotation = read_upstream_json(content.Annotation, event.raw)
        annotations = self._parts[-1].output_text.annotations
        annotations.append(annotation)
        said = self._add("output_text_annotation_added")
        said.annotation_index = len(annotations) - 1
        said.annotation.CopyFrom(annotation)

    def _add(self, kind: str) -> Any:
        said = self._telling.add(kind)
        said.item_id, said.output_index, said.content_index = self.item_id, self.output_index, self._index
        return said


def logprob_of(token: TokenLogprob) -> content.Logprob:
    """The log probability of one token, in the words of the contract."""
    top = [content.TopLogprob(token=other.token, bytes=other.bytes, logprob=other.logprob) for other in token.top]
    return content.Logprob(token=token.token, bytes=token.bytes, logprob=token.logprob, top_logprobs=top)
