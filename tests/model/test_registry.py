"""The registry: which provider serves a name, and which names there are."""

import pytest

from tests.model.scripted_dialect import ScriptedDialect
from trivet.kernel.errors import ModelNotFound, UpstreamFailed
from trivet.model_service.domain.ports import ModelInfo
from trivet.model_service.domain.registry import FRESH_SECONDS, Provider, Registry, ServedModel

DOWN = UpstreamFailed("down")


def registry(**dialects: ScriptedDialect) -> Registry:
    return Registry(Provider(name, dialect) for name, dialect in dialects.items())


def test_a_name_is_a_provider_and_a_model_that_may_hold_slashes() -> None:
    provider, model = registry(lab=ScriptedDialect()).resolve("lab/org/model:7b")
    assert (provider.name, model) == ("lab", "org/model:7b")


@pytest.mark.parametrize("name", ["", "lab", "lab/", "/m", "other/m", "LAB/m"])
def test_every_other_name_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound):
        registry(lab=ScriptedDialect()).resolve(name)


def test_configured_models_are_the_only_ones() -> None:
    only = Registry([Provider("lab", ScriptedDialect(), (ModelInfo("a"),))])
    assert only.resolve("lab/a")[1] == "a"
    with pytest.raises(ModelNotFound):
        only.resolve("lab/b")


async def test_the_list_has_configured_and_listed_models_and_survives_a_provider_that_is_down() -> None:
    configured = ScriptedDialect(models=DOWN)
    found = Registry(
        [
            Provider("local", configured, (ModelInfo("smollm2", description="a demonstration"),)),
            Provider("down", ScriptedDialect(models=DOWN)),
            Provider("lab", ScriptedDialect(models=[ModelInfo("a", 5), ModelInfo("org/b")])),
        ]
    )
    assert await found.models() == [
        ServedModel("local/smollm2", "local", description="a demonstration"),
        ServedModel("lab/a", "lab", 5),
        ServedModel("lab/org/b", "lab"),
    ]
    assert configured.listed == 0


async def test_a_list_is_kept_for_a_while_and_beyond_while_its_provider_is_down() -> None:
    now = 1000.0
    dialect = ScriptedDialect(models=[ModelInfo("a")])
    found = Registry([Provider("lab", dialect)], clock=lambda: now)
    await found.models()
    await found.models()
    assert dialect.listed == 1
    now += FRESH_SECONDS
    dialect.models = DOWN
    assert await found.models() == [ServedModel("lab/a", "lab")]
    assert dialect.listed == 2


async def test_one_model_is_found_among_those_listed() -> None:
    found = registry(lab=ScriptedDialect(models=[ModelInfo("a", 5)]))
    assert await found.model("lab/a") == ServedModel("lab/a", "lab", 5)
    with pytest.raises(ModelNotFound):
        await found.model("lab/b")
    with pytest.raises(ModelNotFound):
        await found.model("nobody/a")


async def test_a_model_of_a_provider_that_is_down_is_believed() -> None:
    assert await registry(lab=ScriptedDialect(models=DOWN)).model("lab/a") == ServedModel("lab/a", "lab")
