"""An SLAPolicy from a file: checked as the API server would check it, then parsed."""

from __future__ import annotations

from typing import Any

from slaplanner.api.policy import KIND, SLAPolicy
from slaplanner.api.validation import judge
from slaplanner.core.errors import PolicyError
from slaplanner.yaml_documents import read_documents


def policy_from_text(text: str, *, source: str) -> SLAPolicy:
    """The one SLAPolicy among the documents of *text*; *source* stands in messages.

    Raises:
        DocumentError: it is not YAML that Kubernetes reads.
        PolicyError: there is none or more than one, or it would be refused.
    """
    contents: list[Any] = [document.content for document in read_documents(text)]
    policies = [entry for entry in contents if isinstance(entry, dict) and entry.get("kind") == KIND]
    if len(policies) != 1:
        raise PolicyError(f"{source}: found {len(policies)} objects of kind {KIND}, wanted one")
    faults = judge(policies[0]).faults
    if faults:
        raise PolicyError(f"{source}: {'; '.join(f'{fault.path}: {fault.message}' for fault in faults)}")
    return SLAPolicy.parse(policies[0])
