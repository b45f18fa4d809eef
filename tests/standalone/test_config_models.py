"""The models of a configuration file: what is wrong with them is told with its line and what to do."""

from pathlib import Path

import pytest

from trivet.model_service.settings import ModelSettings
from trivet.standalone.config import ConfigError, load_config

PROVIDERS = """\
providers:
  - {name: oai, type: openai-responses, base_url: "http://h/v1"}
  - {name: lab, type: openai-chat, base_url: "http://h/v1", models: [fast]}
models:
"""


def told(file: Path, models: str) -> str:
    file.write_text(PROVIDERS + models, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(file, {})
    return str(raised.value).replace(f"{file}:", "")


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        (
            "  - name: smart\n    targets:\n      - {model: oai/gpt-5}\n      - {model: oia/gpt-5}\n",
            "8:10: `models[0].targets[1].model`: there is no provider `oia`: known here are `oai`, `lab`",
        ),
        (
            "  - {name: smart, targets: [{model: lab/slow}]}\n",
            "5:30: `models[0].targets[0].model`: the provider `lab` does not offer `slow`: its `models` are `fast`",
        ),
        (
            "  - {name: smart, targets: [{model: oai/a}, {model: oai/a}]}\n",
            "5:46: `models[0].targets[1].model`: `oai/a` is a target twice",
        ),
        (
            "  - {name: oai/gpt-5, targets: [{model: oai/a}]}\n",
            "5:6: `models[0].name`: `oai` is a provider: its models are its own",
        ),
        (
            "  - {name: a, targets: [{model: oai/a}]}\n  - {name: a, targets: [{model: oai/b}]}\n",
            "6:6: `models[1].name`: two models are named `a`",
        ),
        ("  - {name: a, targets: []}\n", "5:15: `models[0].targets`: must have at least 1 element"),
        ("  - {name: a, targets: [{model: gpt-5}]}\n", "`models[0].targets[0].model`"),
        (
            "  - {name: a, targets: [{model: oai/a, override_params: {stream: true}}]}\n",
            "`models[0].targets[0].override_params`: `stream` cannot be overridden",
        ),
        (
            "  - {name: a, targets: [{model: oai/a}], route: {sticky: {header: Authorization}}}\n",
            "`models[0].route.sticky.header`: what opens a door does not choose a target",
        ),
        ("  - {name: a, targets: [{model: oai/a, retry: {attempts: 0}}]}\n", "`models[0].targets[0].retry.attempts`"),
        ("  - {name: a, targets: [{model: oai/a}], route: {strategy: weigth}}\n", "did you mean `weight`?"),
    ],
)
def test_what_is_wrong_with_a_model_is_told_with_its_line(tmp_path: Path, models: str, problem: str) -> None:
    assert problem in told(tmp_path / "trivet.yaml", models)


def test_a_list_whose_only_element_is_wrong_is_not_told_to_be_empty_as_well(tmp_path: Path) -> None:
    problems = told(tmp_path / "trivet.yaml", "  - {name: a, targets: [{model: oai/a, weight: -1}]}\n")

    assert "`models[0].targets[0].weight`" in problems
    assert "`models[0].targets`:" not in problems


def test_a_name_with_a_slash_may_begin_with_what_is_no_provider() -> None:
    providers = [{"name": "oai", "type": "openai-responses", "base_url": "http://h/v1"}]
    models = [{"name": "team/smart", "targets": [{"model": "oai/org/m"}]}]
    (model,) = ModelSettings.model_validate({"providers": providers, "models": models}).models
    (target,) = model.as_route().targets
    assert (target.provider, target.model, target.retry.attempts) == ("oai", "org/m", 2)
