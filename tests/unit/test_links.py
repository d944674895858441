"""Every link between the documents leads to a file that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(page for folder in ("docs", "examples") for page in (ROOT / folder).rglob("*.md")),
]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    # Code is text, whatever brackets it has.
    code = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
    text = code.sub("", page.read_text(encoding="utf-8"))
    targets = (link.partition("#")[0] for link in _LINK.findall(text))
    missing = [
        target for target in targets if target and "://" not in target and not (page.parent / target).exists()
    ]
    assert missing == []


def test_the_site_has_every_page_but_the_designs() -> None:
    """Read as text: the file has a tag that only mkdocs understands."""
    config = (ROOT / "mkdocs.yml").read_text()
    nav = set(re.findall(r"\b([\w/-]+\.md)\b", config[config.index("nav:") :]))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert nav == {page for page in pages if not page.startswith("designs/")}
    assert yaml.safe_load(config.partition("markdown_extensions:")[0])["strict"] is True
