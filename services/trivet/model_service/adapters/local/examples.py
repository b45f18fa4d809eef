"""The worked examples that precede a turn: a model this small copies forms far better than it follows rules.

They are few and short, because each costs reading time (120 tokens a second), and chosen by trying: order matters, and
an example's data turns up in answers if it resembles the data asked about. So there is no date among the answers.
"""

from typing import Any

Message = dict[str, Any]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _says(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _calls(name: str, arguments: str) -> Message:
    call = {"id": "example", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def result_and_question(results: list[str], question: str) -> Message:
    """Word what tools gave and what was asked as one message; `question` may be empty."""
    parts = [f"Result:\n{result}" for result in results]
    return _user("\n\n".join([*parts, f"Question: {question}"] if question else parts))


SYSTEM: Message = {"role": "system", "content": "You are a helpful AI assistant named SmolLM, trained by Hugging Face"}
"""The system message that the model was trained with. Only turns with tools get it: it makes plain answers worse."""

DECISIONS: tuple[Message, ...] = (
    _user("How warm is it in Madrid?"),
    _calls("get_weather", '{"city": "Madrid"}'),
    _user("Who wrote Hamlet?"),
    _says("Hamlet was written by William Shakespeare."),
    _user("Add 17 and 25"),
    _calls("add", '{"a": 17, "b": 25}'),
    _user("Hi, who are you?"),
    _says("Hello! I am SmolLM, a small language model. How can I help?"),
    _user("What time is it in New York?"),
    _calls("clock", '{"timezone": "America/New_York"}'),
    _user("Tell me a joke about cats."),
    _says("Why did the cat sit on the computer? To keep an eye on the mouse!"),
    _user("What time is it in Madrid?"),
    _calls("clock", '{"timezone": "Europe/Madrid"}'),
    _user("What is the largest planet?"),
    _says("The largest planet is Jupiter."),
    _user("Which files are in /home/ann?"),
    _calls("list_files", '{"path": "/home/ann"}'),
)
"""Questions that need a tool, and questions that do not."""

ABOUT_DATA: tuple[Message, ...] = (
    result_and_question(["temperature: 21\nunit: C"], "How warm is it in Madrid?"),
    _says("The temperature in Madrid is 21 C."),
)
"""What to say of a result that is a JSON object or array."""

ABOUT_TEXT: tuple[Message, ...] = (
    result_and_question(["Dear Ann, the train leaves at nine."], "Read letter.txt"),
    _says("It says: Dear Ann, the train leaves at nine."),
    result_and_question(["Said: good morning"], "Say good morning"),
    _says("Said: good morning"),
    result_and_question(["report.pdf\ncat.png\nsongs"], "Which files are in /home/ann?"),
    _says("There are report.pdf, cat.png and songs."),
)
"""What to say of a result in words."""

ABOUT_FAILURE: tuple[Message, ...] = (
    result_and_question(["Error: unknown city 'Limaa'"], "How warm is it in Limaa?"),
    _says("That did not work: Error: unknown city 'Limaa'"),
)
"""What to say of a tool that failed."""
