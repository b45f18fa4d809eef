"""A message of a response while it comes."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from trivet.model.v1 import response_content_pb2 as content
from trivet.model.v1 import response_event_body_pb2 as body
from trivet.model.v1 import response_item_pb2 as pb
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.turn import AnnotationAdded, RefusalDelta, TextDelta, TextRun, TokenLogprob, TurnEvent
from trivet.model_service.faces.responses_output import OutputItem
from trivet.model_service.faces.upstream_json import read_upstream_json


class MessageOutput(OutputItem):
    """The model's message: texts and refusals, each run of one kind a part."""

    def __init__(self, sequence: Iterator[int]) -> None:
        item_id = new_id("msg")
        empty = content.MessageContent(parts=content.ContentPartList())
        message = pb.Message(id=item_id, role="assistant", status="in_progress", content=empty)
        super().__init__(sequence, pb.Item(message=message), item_id)
        self._message = self.item.message
        self._part: content.ContentPart | None = None
        self._text: list[str] = []
        self._says_text = False
        self._index = -1

    def feed(self, event: TurnEvent) -> Iterator[ResponseEvent]:
        match event:
            case TextDelta():
                yield from self._in_part("output_text")
                yield self._text_delta(event)
            case TextRun():
                yield from self._in_part("output_text")
                yield self._text_run(event)
            case RefusalDelta():
                yield from self._in_part("refusal")
                self._text.append(event.text)
                yield ResponseEvent(refusal_delta=body.ContentDeltaEvent(delta=event.text, **self._place()))
            case AnnotationAdded():
                yield from self._in_part("output_text")
                yield self._annotation(event)

    def _end(self, status: str) -> Iterator[ResponseEvent]:
        yield from self._end_part()
        self._message.status = status

    @property
    def _parts(self) -> list[content.ContentPart]:
        return self._message.content.parts.parts  # type: ignore[return-value]

    def _in_part(self, kind: str) -> Iterator[ResponseEvent]:
        if self._part is not None:
            if self._part.WhichOneof("kind") == kind:
                return
            yield from self._end_part()
        text = content.ContentPart(output_text=content.OutputText())
        self._parts.append(text if kind == "output_text" else content.ContentPart(refusal=content.Refusal()))
        self._part = self._parts[-1]
        self._index, self._says_text = len(self._parts) - 1, kind == "output_text"
        yield ResponseEvent(content_part_added=body.ContentPartEvent(part=self._part, **self._place()))

    def _end_part(self) -> Iterator[ResponseEvent]:
        if self._part is None:
            return
        whole = "".join(self._text)
        self._text.clear()
        if self._part.HasField("refusal"):
            self._part.refusal.refusal = whole
            yield ResponseEvent(refusal_done=body.RefusalDoneEvent(refusal=whole, **self._place()))
        else:
            self._part.output_text.text = whole
            done = body.OutputTextDoneEvent(text=whole, logprobs=self._part.output_text.logprobs, **self._place())
            yield ResponseEvent(output_text_done=done)
        yield ResponseEvent(content_part_done=body.ContentPartEvent(part=self._part, **self._place()))
        self._part, self._says_text = None, False

    def _text_delta(self, event: TextDelta) -> ResponseEvent:
        self._text.append(event.text)
        delta = body.OutputTextDeltaEvent(delta=event.text, **self._place())
        if event.logprobs and self._part is not None:
            delta.logprobs.extend(map(logprob_of, event.logprobs))
            self._part.output_text.logprobs.extend(delta.logprobs)
        return ResponseEvent(output_text_delta=delta)

    @property
    def says_text(self) -> bool:
        return self._says_text

    def tell(self, run: body.OutputTextDeltaEvent, texts: Sequence[str]) -> None:
        self._text += texts
        run.deltas.extend(texts)
        run.sequence_number = next(self._sequence)
        run.item_id = self.item_id
        run.output_index = self.output_index
        run.content_index = self._index
        if len(texts) > 1:
            # Each of the texts but the first takes a number of its own.
            deque(islice(self._sequence, len(texts) - 1), maxlen=0)

    def _text_run(self, event: TextRun) -> ResponseEvent:
        told = ResponseEvent()
        self.tell(told.output_text_delta, event.texts)
        return told

    def _annotation(self, event: AnnotationAdded) -> ResponseEvent:
        annotation = read_upstream_json(content.Annotation, event.raw)
        annotations = self._parts[-1].output_text.annotations
        annotations.append(annotation)
        added = body.AnnotationAddedEvent(annotation_index=len(annotations) - 1, annotation=annotation, **self._place())
        return ResponseEvent(output_text_annotation_added=added)

    def _place(self) -> dict[str, Any]:
        return {
            "sequence_number": next(self._sequence),
            "item_id": self.item_id,
            "output_index": self.output_index,
            "content_index": self._index,
        }


def logprob_of(token: TokenLogprob) -> content.Logprob:
    """The log probability of one token, in the words of the contract."""
    top = [content.TopLogprob(token=other.token, bytes=other.bytes, logprob=other.logprob) for other in token.top]
    return content.Logprob(token=token.token, bytes=token.bytes, logprob=token.logprob, top_logprobs=top)
