"""How requests to AWS are signed, and by whose credentials."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.adapters.upstream_site import Endpoint

SERVICE = "bedrock"
"""The name that both of Bedrock's hosts sign for."""


def hosts_of(region: str) -> tuple[str, str]:
    """The addresses of a region: that of its models, and that of their list."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{region}.{domain}", f"https://bedrock.{region}.{domain}"


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Credentials as they are configured; `token` is for temporary ones."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    token: str = field(default="", repr=False)


class AwsSigner:
    """Signs requests by Signature Version 4, with given keys or with what botocore finds: environment, profile, container, instance.

    Give `UpstreamHttp` both `endpoint`, which sees before each call that the credentials are there and fresh, and `sign`.
    """

    def __init__(self, provider: str, region: str, keys: AwsKeys | None) -> None:
        self._provider = provider
        self._region = region
        self._keys = keys
        self._found: Any = None
        self._frozen: Any = None

    async def endpoint(self, base_url: str) -> Endpoint:
        """The place, once there are credentials for it. Raises UpstreamFailed if there are none."""
        # They may be read from files or asked of a service, and again before they expire: never in the loop. Given ones stay.
        if self._keys is None or self._frozen is None:
            self._frozen = await asyncio.to_thread(self._fresh)
        if self._frozen is None:
            raise UpstreamFailed(f"The provider `{self._provider}` has no AWS credentials, in the configuration or around it.")
        return Endpoint(base_url, self._frozen.secret_key)

    def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """The headers that sign a request; see `Sign`."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        signed = {"Content-Type": headers["Content-Type"]}
        request = AWSRequest(method=method, url=url, data=body, headers=signed)
        SigV4Auth(self._frozen, SERVICE, self._region).add_auth(request)
        return {name: value for name, value in request.headers.items() if name not in signed}

    def _fresh(self) -> Any:
        from botocore.credentials import Credentials
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            if self._found is None:
                given = self._keys
                self._found = (
                    Credentials(given.access_key_id, given.secret_access_key, given.token or None)
                    if given
                    else Session().get_credentials()
                )
            return self._found and self._found.get_frozen_credentials()
        except BotoCoreError as error:
            raise UpstreamFailed(f"The provider `{self._provider}` cannot get AWS credentials.") from error
