"""What reading a kubeconfig can raise: the kubernetes client checks little of a file's shape itself."""

from __future__ import annotations

import yaml
from kubernetes.config.config_exception import ConfigException

UNREADABLE: tuple[type[Exception], ...] = (
    ConfigException,
    yaml.YAMLError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""A file that is absent, no UTF-8, no YAML, or YAML of another shape."""
