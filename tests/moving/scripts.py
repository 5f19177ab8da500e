"""Which names of this package the scripts use that the tests run: tests, examples, and the code in the pages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pages import blocks, pages

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def programs() -> Iterator[tuple[str, str]]:
    """(where, source) of each; not what is only given to type checkers."""
    for folder in ("tests", "examples"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            if "typed" not in path.parts:
                yield path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")
    for page, code in pages().items():
        yield f"docs/{page}", "\n".join(code)
    yield "README.md", "\n".join(blocks(REPOSITORY / "README.md"))


class Uses(ast.NodeVisitor):
    """What one program uses: an import alone is no use.

    Attributes:
        names: of this package, by the names they have there.
        attributes: of anything, with the methods that it defines and the arguments that it gives by name.
    """

    def __init__(self, source: str) -> None:
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self._known: dict[str, str] = {}
        self._modules: set[str] = set()
        tree = ast.parse(source)
        for node in ast.walk(tree):
            self._imports(node)
        self.visit(tree)

    def _imports(self, node: ast.AST) -> None:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tune_plugins":
            for alias in node.names:
                self._known[alias.asname or alias.name] = alias.name
                self._modules.add(alias.asname or alias.name)
        elif isinstance(node, ast.Import):
            self._modules |= {
                alias.asname for alias in node.names if alias.asname and alias.name.startswith("tune_plugins")
            }

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in self._known:
            self.names.add(self._known[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attributes.add(node.attr)
        if isinstance(node.value, ast.Name) and node.value.id in self._modules:
            self.names.add(node.attr)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.attributes.add(node.name)
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        self.attributes.add(node.arg or "")
        self.generic_visit(node)
