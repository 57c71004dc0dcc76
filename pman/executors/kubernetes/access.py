"""The address of the API server and pman's credentials, as the kubernetes package has them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_kube_config
from kubernetes.aio.config.incluster_config import (
    SERVICE_HOST_ENV_NAME,
    SERVICE_TOKEN_FILENAME,
    load_incluster_config,
)

from pman.errors import ConfigError, EngineUnreachable
from pman.executors.shared.http import Http

CREDENTIALS_CHECK_SECONDS = 60.0
"""Between two looks at the credentials: files are rewritten, and tokens expire."""

_HTTP: Mapping[str, Any] = {"server": "the API server", "trust_env": True, "read_bufsize": 2**21}
"""As in the kubernetes package, proxies of the environment count, and objects may be large."""

# What the package raises for a file that is no kubeconfig, besides its own exception.
_WRONG = (ConfigException, OSError, ValueError, TypeError, AttributeError, LookupError, yaml.YAMLError)


class Access:
    """One cluster: by KUBECONFIG, else the service account of pman's pod, else ~/.kube/config."""

    def __init__(self, kubeconfig: str | None, timeout: int) -> None:
        """`timeout`: of each call and of what its credentials take, in seconds."""
        self.timeout = timeout
        mounted = Path(SERVICE_TOKEN_FILENAME).is_file() and SERVICE_HOST_ENV_NAME in os.environ
        names = kubeconfig or ("" if mounted else "~/.kube/config")
        self._files = os.pathsep.join(
            str(Path(name).expanduser()) for name in names.split(os.pathsep) if name
        )
        self._setting = f"KUBECONFIG={kubeconfig!r}" if kubeconfig else "KUBECONFIG is not set"
        self.source = f"{self._setting}, {self._files or 'the service account of this pod'} is used"

    async def load(self) -> Configuration:
        """Read the configuration. Raises ConfigError naming KUBECONFIG, EngineUnreachable."""
        configuration = Configuration()
        # As kubectl: the certificate of a cluster's own authority often lacks what Python 3.13 asks for.
        configuration.disable_strict_ssl_verification = True
        async with self._timed():
            try:
                if self._files:
                    await self._load_files(configuration)
                else:
                    load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # so is all of its kind
            except aiohttp.ClientError as error:  # the provider of OpenID tokens
                raise EngineUnreachable(f"no credentials for Kubernetes: {error}", self.source) from error
            except _WRONG as error:
                raise ConfigError(
                    f"{self._setting}: {self._files or 'the service account'}: {error}",
                    "KUBECONFIG names a file whose current context is the cluster; unset: the service "
                    "account of pman's own pod, else ~/.kube/config",
                ) from error
        return configuration

    async def _load_files(self, configuration: Configuration) -> None:
        if not any(map(os.path.exists, self._files.split(os.pathsep))):
            raise ConfigError(
                f"{self._setting}: {self._files} does not exist",
                "set KUBECONFIG to the kubeconfig of the cluster, or run pman in the cluster",
            )
        # persist_config would write tokens into the admin's file.
        loader = await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=self._files,
            client_configuration=configuration,
            persist_config=False,
        )
        due = time.monotonic() + CREDENTIALS_CHECK_SECONDS

        async def renew(configuration: Any) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + CREDENTIALS_CHECK_SECONDS
                await loader.load_and_set(configuration)

        configuration.refresh_api_key_hook = renew  # type: ignore[assignment]  # typed by its default, None

    async def authorization(self, configuration: Configuration) -> dict[str, str]:
        """The Authorization header, its token renewed where it is time; none where a certificate does it."""
        async with self._timed():
            try:
                settings = await configuration.auth_settings()
            except (*_WRONG, aiohttp.ClientError) as error:
                raise EngineUnreachable(
                    f"the credentials for Kubernetes cannot be renewed: {error}", "see KUBECONFIG"
                ) from error
        token = settings["BearerToken"]["value"] if "BearerToken" in settings else None
        return {"Authorization": token.strip()} if token else {}

    @asynccontextmanager
    async def _timed(self) -> AsyncIterator[None]:
        """Raise EngineUnreachable where a plugin for credentials, or the issuer of tokens, hangs."""
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except TimeoutError as error:
            raise EngineUnreachable(
                f"no credentials for Kubernetes within {self.timeout} s",
                f"a plugin of the kubeconfig may hang: {self.source}",
            ) from error


class Connections:
    """The connections with one set of credentials."""

    def __init__(self, access: Access, configuration: Configuration) -> None:
        self._access = access
        self._configuration = configuration
        self._requests = 0
        self.is_replaced = False
        # A plugin that failed leaves none, which the kubernetes package only logs.
        self.is_anonymous = not configuration.api_key and not configuration.cert_file
        try:
            tls = RESTClientObject(configuration).ssl_context
        except OSError as error:
            raise ConfigError(f"KUBECONFIG: its certificates cannot be read: {error}") from error
        self._http = Http(
            "Kubernetes", configuration.host, access.timeout, hint=access.source, tls=tls, **_HTTP
        )
        self.address = self._http.address

    @asynccontextmanager
    async def send(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """See Http.request. Connections that were replaced are closed after the last: a set is 350 KiB."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        configuration = self._configuration
        self._requests += 1
        try:
            credentials = await self._access.authorization(configuration)
            options["headers"] = {"Content-Type": kind, "User-Agent": "pman", **credentials}
            options["server_hostname"] = configuration.tls_server_name
            options |= {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
            async with self._http.request(method, path, **options) as response:
                yield response
        finally:
            self._requests -= 1
            if self.is_replaced and not self._requests:
                await self.close()

    async def close(self) -> None:
        await self._http.close()
