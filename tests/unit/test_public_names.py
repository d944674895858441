"""What `from slaplanner import ...` offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slaplanner
from tests.profile_data import ROOT

STUB = ROOT / "operator" / "slaplanner" / "__init__.pyi"
HEAVY = ("numpy", "scipy", "pydantic", "numba", "kopf", "statsmodels")


@pytest.mark.parametrize("name", slaplanner.__all__)
def test_every_public_name_can_be_had_and_explains_itself(name: str) -> None:
    assert getattr(slaplanner, name).__doc__
    assert name in dir(slaplanner)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'slaplanner' has no attribute 'forecast_everything'"):
        _ = slaplanner.forecast_everything  # type: ignore[attr-defined]


def test_type_checkers_are_told_the_same_names_from_the_same_modules() -> None:
    told = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(ast.parse(STUB.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == slaplanner._HOMES


def test_the_page_for_python_users_names_all_of_them() -> None:
    page = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
    assert [name for name in slaplanner.__all__ if f"`{name}" not in page] == []


def test_importing_the_package_alone_imports_nothing_heavy() -> None:
    program = f"import slaplanner, sys; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path("/")
    )
    assert done.stdout.strip() == "[]"
