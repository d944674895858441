"""The settings that the manifests mount are settings that the operator reads."""

from pathlib import Path

import pytest

from slaplanner.settings import load_settings

MANIFESTS = Path(__file__).parents[2] / "manifests"


@pytest.mark.parametrize("file", sorted(MANIFESTS.rglob("settings.yaml")), ids=lambda path: path.parent.name)
def test_a_mounted_settings_file_names_the_default_connection(file: Path) -> None:
    settings = load_settings(file, env={})
    assert settings.prometheus["default"].url.startswith("http://")


def test_only_the_namespaced_variant_limits_itself_to_a_namespace() -> None:
    watched = {
        folder: load_settings(MANIFESTS / folder / "settings.yaml", env={}).watched_namespaces
        for folder in ("base", "overlays/namespaced")
    }
    assert watched == {"base": (), "overlays/namespaced": ("serving",)}
