"""Measures the house: lines, names, packages, contracts and what strict typing had to let pass.

`make house` prints a table of this tree; `make house BEFORE=REVISION` puts an earlier revision beside it. The figures
are counted from the syntax trees and from pyproject.toml, so nothing has to be installed or imported.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import subprocess
import sys
import tarfile
import tempfile
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

OPERATOR, LABORATORY = Path("operator/slaplanner"), Path("operator/slaplanner_lab")


def figures(root: Path) -> dict[str, str]:
    """The rows of the table, for the tree at *root*."""
    paths = {side: sorted((root / side).rglob("*.py")) for side in (OPERATOR, LABORATORY)}
    everything = [path for side in paths.values() for path in side]
    texts = {path: path.read_text(encoding="utf-8") for path in everything}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    classes = Counter(
        node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    longest_file = max(everything, key=lambda path: texts[path].count("\n"))
    longest_function, lines_of_it = max(
        (
            (f"{path.name}:{node.name}", _length(node))
            for path, tree in trees.items()
            for node in _functions(tree)
        ),
        key=lambda entry: entry[1],
    )
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings.get("tool", {}).get("importlinter", {}).get("contracts", [])
    repeated = sum(count > 1 for count in classes.values())
    return {
        "lines of the operator": f"{sum(texts[path].count(chr(10)) for path in paths[OPERATOR]):,}",
        "lines of the laboratory": f"{sum(texts[path].count(chr(10)) for path in paths[LABORATORY]):,}",
        "files": f"{len(everything):,}",
        "classes": f"{sum(classes.values()):,}",
        "class names used twice or more": f"{repeated}",
        "packages": f"{sum(path.name == '__init__.py' for path in everything)}",
        "import contracts": f"{len(contracts)}",
        "longest file, in lines": f"{texts[longest_file].count(chr(10))} ({longest_file.name})",
        "longest function, in lines": f"{lines_of_it} ({longest_function})",
        "lines with `Any`": f"{sum(_names(text, 'Any') for text in texts.values())}",
        "`cast(`": f"{sum(_names(text, 'cast', called=True) for text in texts.values())}",
        "`type: ignore`": f"{sum(_comments(text, 'type: ignore') for text in texts.values())}",
        "`noqa`": f"{sum(_comments(text, 'noqa') for text in texts.values())}",
    }


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _names(text: str, name: str, *, called: bool = False) -> int:
    """Lines that use *name* as a word of the program, outside of comments and strings; imports are not counted."""
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    return len(
        {
            token.start[0]
            for token, following in itertools.pairwise(tokens)
            if token.type == tokenize.NAME
            and token.string == name
            and (following.string == "(" or not called)
            and not re.match(r"\s*(from|import)\b", token.line)
        }
    )


def _comments(text: str, words: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT and words in token.string for token in tokens)


def earlier(revision: str) -> dict[str, str]:
    """The rows for *revision*, unpacked beside the tree."""
    archive = subprocess.run(
        ["git", "archive", revision, "operator", "pyproject.toml"], check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")
        return figures(Path(folder))


def main(revisions: list[str]) -> None:
    """Print the table in Markdown."""
    columns = {revision: earlier(revision) for revision in revisions} | {"now": figures(Path())}
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [
        f"| {row} | {' | '.join(column[row] for column in columns.values())} |"
        for row in next(iter(columns.values()))
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
