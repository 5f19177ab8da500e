"""Sphinx configuration; parts of the documentation are made from the code, see `setup`."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

from tune_plugins._version import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("KERAS_BACKEND", "torch")  # the one that is installed here; read when Keras is imported

project = "tune-plugins"
author = "the tune-plugins contributors"
copyright = f"2026, {author}"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = [
    "_build",
    "generated/scheduler_conformance.md",
    "generated/state_diagram.md",
    "benchmark_results.md",
]  # the files are included in pages
html_theme = "furo"
html_title = f"tune-plugins {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
maximum_signature_line_length = 80  # else one parameter a line

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# A word in single backquotes is code, whether or not the reference describes it.
default_role = "code"

# Every reference to a name of this package must resolve (`make docs` is nitpicky); for names of other packages that
# would need their inventories from the network.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!tune_plugins\.).*"),
    (r"py:class", r"tune_plugins\..*\.[A-Z]"),
]  # type variables
nitpick_ignore = [("py:class", "tune_plugins.integrations._adapter.F")]  # a type variable


def _generate(app: Sphinx) -> None:
    import _api
    import _conformance
    import _examples
    import _live_table
    import _state_diagram

    from tune_plugins.core.transitions import TRANSITIONS

    files = {
        "state_diagram.md": _state_diagram.page(TRANSITIONS),
        "scheduler_conformance.md": _conformance.page(HERE.parent),
        "live_table.svg": _live_table.svg(),
        **{f"api/{name}.md": text for name, text in _api.pages().items()},
        **{f"examples/{name}.md": text for name, text in _examples.pages(HERE.parent).items()},
    }
    folder = HERE / "generated"
    for path in folder.rglob("*.md"):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()  # of an earlier build, which would be a page that no other one lists
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # an unchanged file is not read again
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _own_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """That of `__init__`, for a class whose metaclass has a call of its own: autodoc takes that, which says nothing."""
    if what != "class" or type(value).__call__ is type.__call__:
        return None
    own = inspect.signature(value.__init__)
    own = own.replace(parameters=list(own.parameters.values())[1:])
    return stringify_signature(own, show_annotation=False, show_return_annotation=False), returned


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", _generate)
    app.connect("autodoc-process-signature", _own_signature)
