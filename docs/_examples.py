"""Writes the pages of the examples: what each one says of itself, and the sources."""

from __future__ import annotations

import ast
from pathlib import Path

FRAMEWORKS = {
    "lightning": "Lightning",
    "keras": "Keras",
    "pytorch": "PyTorch",
    "xgboost": "XGBoost",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "sklearn": "scikit-learn",
    "own_adapter": "A framework of one's own",
    "own_searcher": "A searcher of one's own",
}


def pages(repository: Path) -> dict[str, str]:
    """{name of a page: its text}: the overview, and one for each file in examples/ with its source."""
    overview = [
        "# Examples",
        "",
        "Each is a script in the folder `examples` of a checkout, runs as it is, and downloads nothing.",
        "`make demo` runs the one on flights; its environment has XGBoost, the others need the extra of their",
        "framework, and scikit-learn.",
        "",
    ]
    scripts = sorted((repository / "examples").glob("*.py"))
    for script in scripts:
        tree = ast.parse(script.read_text(encoding="utf-8"))
        said = ast.get_docstring(tree)
        if said is None or not any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            continue  # a module that others import
        framework = FRAMEWORKS.get(script.stem) or FRAMEWORKS[script.stem.partition("_")[0]]
        link = f"Source: {{doc}}`examples/{script.name} <{script.stem}>`"
        overview += [f"## {framework}: `{script.name}`", "", "```{eval-rst}", *said.splitlines(), "```", "", link, ""]
    overview += ["```{toctree}", ":hidden:", "", *(script.stem for script in scripts), "```", ""]
    return {"index": "\n".join(overview)} | {script.stem: _source(script.name) for script in scripts}


def _source(name: str) -> str:
    path = f"../../../examples/{name}"
    download = f"{{download}}`Download <{path}>`; it lies in the folder `examples` of a checkout."
    return "\n".join([f"# `{name}`", "", download, "", f"```{{literalinclude}} {path}", "```", ""])
