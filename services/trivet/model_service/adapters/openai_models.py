"""The list of models that every OpenAI-shaped API has."""

from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.ports import ModelInfo


async def list_models(http: UpstreamHttp) -> list[ModelInfo]:
    """The models that the upstream lists. Raises as `UpstreamHttp` does."""
    listed = (await http.get_json("models")).get("data")
    if not isinstance(listed, list):
        raise http.invalid("listed its models in an unknown form")
    found = [model for model in listed if isinstance(model, dict) and isinstance(model.get("id"), str)]
    return [ModelInfo(model["id"], _time(model.get("created"))) for model in found]


def _time(value: object) -> int:
    return value if isinstance(value, int) else 0
