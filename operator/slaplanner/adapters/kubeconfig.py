"""The way to an API server: the pod's service account, or a kubeconfig by kubectl's rules."""

from __future__ import annotations

from pathlib import Path

import yaml
from kubernetes import aio, client, config
from kubernetes.config.config_exception import ConfigException

UNREADABLE: tuple[type[Exception], ...] = (
    ConfigException,
    aio.config.ConfigException,
    yaml.YAMLError,
    OSError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What a kubeconfig can raise that is absent, no UTF-8, no YAML, or YAML of another shape: the client checks little."""


class NoContextError(LookupError):
    """The kubeconfig has no context of that name."""


def credentials(*, kubeconfig: Path | None = None, context: str | None = None) -> client.Configuration:
    """How to reach the API server and who asks.

    Args:
        kubeconfig: None: the pod's service account where there is one, else `KUBECONFIG`, else the home directory.
        context: of the kubeconfig; None: its current one. A context that is given rules the service account out.

    Raises: one of `UNREADABLE`.
    """
    configuration = client.Configuration()
    if kubeconfig is None and context is None:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except ConfigException:
            pass
        else:
            return configuration
    config.load_kube_config(
        config_file=_file(kubeconfig), context=context, client_configuration=configuration
    )
    return configuration


async def aio_credentials(
    *, kubeconfig: Path | None = None, context: str | None = None
) -> aio.client.Configuration:
    """The same for the asynchronous client, which has classes of its own."""
    configuration = aio.client.Configuration()
    if kubeconfig is None and context is None:
        try:
            aio.config.load_incluster_config(client_configuration=configuration)
        except aio.config.ConfigException:
            pass
        else:
            return configuration
    await aio.config.load_kube_config(
        config_file=_file(kubeconfig), context=context, client_configuration=configuration
    )
    return configuration


def namespace_of(*, kubeconfig: Path | None = None, context: str | None = None) -> str:
    """The namespace that a context of the kubeconfig names, else `default`.

    Raises:
        NoContextError: there is no such context.
        Exception: one of `UNREADABLE`.
    """
    contexts, active = config.list_kube_config_contexts(config_file=_file(kubeconfig))
    chosen = active if context is None else next((one for one in contexts if one["name"] == context), None)
    if chosen is None:
        raise NoContextError(f"found no context {context!r} in the kubeconfig")
    return str(chosen["context"].get("namespace") or "default")


def _file(kubeconfig: Path | None) -> str | None:
    return None if kubeconfig is None else str(kubeconfig)
