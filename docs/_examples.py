"""Writes the page of the examples from what each one says of itself."""

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


def page(repository: Path) -> str:
    """All scripts in examples/ that can be run, with their introductions."""
    lines = [
        "# Examples",
        "",
        "Each is a script in the folder `examples` of a checkout, runs as it is, and downloads nothing.",
        "`make demo` runs the one on flights; its environment has XGBoost, the others need the extra of their",
        "framework, and scikit-learn.",
        "",
    ]
    for script in sorted((repository / "examples").glob("*.py")):
        tree = ast.parse(script.read_text(encoding="utf-8"))
        said = ast.get_docstring(tree)
        if said is None or not any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            continue  # a module that others import
        framework = FRAMEWORKS.get(script.stem) or FRAMEWORKS[script.stem.partition("_")[0]]
        lines += [f"## {framework}: `examples/{script.name}`", "", "```{eval-rst}", *said.splitlines(), "```", ""]
    return "\n".join(lines)
