"""Where Azure OpenAI has the paths of OpenAI's API, by either of its two rules."""

from urllib.parse import quote, urlencode, urlsplit

from trivet.model_service.adapters.upstream_site import Locate

_WITHOUT_DEPLOYMENT = ("models", "responses")
"""First steps of paths that name no model, under dated versions too."""


def azure_paths(base_url: str, api_version: str | None) -> Locate:
    """What finds a path of OpenAI's API at a resource, for every endpoint alike: `chat/completions`, `embeddings`.

    A bare address, or one that ends in `/openai`, is completed: with an `api_version` by the rule of dated versions, where
    the model is a deployment in the path, otherwise to `/openai/v1`. Any other base URL is taken as it is.
    """
    base = urlsplit(base_url).path.rstrip("/")
    prefix = {"": "openai/", "/openai": ""}.get(base)
    query = f"?{urlencode({'api-version': api_version})}" if api_version else ""

    def locate(path: str, model: str) -> str:
        if prefix is None:
            return f"{path}{query}"
        if not api_version:
            return f"{prefix}v1/{path}"
        if path.partition("/")[0] in _WITHOUT_DEPLOYMENT:
            return f"{prefix}{path}{query}"
        return f"{prefix}deployments/{quote(model, safe='')}/{path}{query}"

    return locate
