"""Writes the reference, a page for each module, from what the package itself calls public (`__all__`)."""

from __future__ import annotations

import importlib
import inspect

MODULES = {
    "tune_plugins": "What most scripts need, usually imported as `import tune_plugins as tune`.",
    "tune_plugins.space": "What the functions that make domains return, and the space as a whole.",
    "tune_plugins.schedulers": "Which trials go on, and what to override for a scheduler of your own.",
    "tune_plugins.search": "Which configurations are tried.",
    "tune_plugins.stoppers": "Rules that end a trial or the whole experiment.",
    "tune_plugins.callbacks": "Hooks around a run.",
    "tune_plugins.logger": "What happens in a run, for files and for experiment trackers.",
    "tune_plugins.logger.by_name": "Loggers by name.",
    "tune_plugins.integrations": "The base of all adapters, for one of your own.",
    "tune_plugins.integrations.lightning": "The Lightning adapter; needs the extra `lightning`.",
    "tune_plugins.integrations.keras": "The Keras adapter; needs the extra `keras`.",
    "tune_plugins.integrations.torch": "For PyTorch loops written by hand; needs the extra `torch`.",
    "tune_plugins.integrations.xgboost": "The XGBoost adapter; needs the extra `xgboost`.",
    "tune_plugins.integrations.lightgbm": "The LightGBM adapter; needs the extra `lightgbm`.",
    "tune_plugins.integrations.catboost": "The CatBoost adapter; needs the extra `catboost`.",
    "tune_plugins.integrations.transformers": "The adapter of Hugging Face's Trainer; needs the extra `transformers`.",
    "tune_plugins.integrations.sklearn": "Searches for scikit-learn; needs the extra `sklearn`.",
    "tune_plugins.errors": "Everything that is raised.",
    "tune_plugins.session.model_port": "How the engine reaches a running training.",
    "tune_plugins.session.best": "Which state of a training is its best one.",
    "tune_plugins.session": "What adapters talk to inside a trial.",
    "tune_plugins.core.ends": "Why a trial has ended, and what is left of an error.",
    "tune_plugins.core.scheduler": "The contract of a scheduler.",
    "tune_plugins.core.searcher": "The contract of a searcher.",
    "tune_plugins.core.stopper": "The contract of a stop rule that looks at results.",
    "tune_plugins.core.trial": "What schedulers and callbacks see of a trial.",
    "tune_plugins.core.autofill": "What results have beside what was reported.",
    "tune_plugins.core.experiment": "The pure core, for those who write a runtime of their own.",
    "tune_plugins.core.events": "What a runtime tells the core, and what the core tells it to do.",
    "tune_plugins.trainable": "A training as a class, also used by hand.",
    "tune_plugins.driver.trial_function": "What `with_resources` and `with_parameters` make of a function.",
    "tune_plugins.compat.analysis": "What `run`, as Ray Tune's `tune.run`, returns.",
    "tune_plugins.record.overview": "What `experiments()` returns.",
    "tune_plugins.record.reader": "The durable record, read while an experiment runs or after it.",
    "tune_plugins.search.by_name": "Searchers by name, and what `search_alg` takes.",
    "tune_plugins.testing.searchers": "What every searcher must hold to; needs pytest.",
    "tune_plugins.testing.experiment": "A core and its searcher in one.",
    "tune_plugins.testing.schedulers": "What every scheduler must hold to; needs pytest and hypothesis.",
    "tune_plugins.testing.adapters": "What every adapter must hold to; needs pytest.",
    "tune_plugins.testing": "Suites and tools for the tests of adapters, also of those outside this project.",
}


def public_names(module_name: str) -> list[str]:
    """What a module says is public."""
    return sorted(name for name in importlib.import_module(module_name).__all__ if not name.startswith("__"))


def pages() -> dict[str, str]:
    """{name of a page: its text}, the overview first.

    An object that several modules offer is described where it appears first; the other pages refer to it.
    """
    overview = ["# API reference", ""]
    found = {"index": ""}
    homes: dict[tuple[str, int], str] = {}
    for module_name, purpose in MODULES.items():
        overview.append(f"- {{doc}}`{module_name}`: {purpose}")
        found[module_name] = _page(module_name, purpose, homes)
    contents = ["", "```{toctree}", ":hidden:", "", *MODULES, "```", ""]
    return found | {"index": "\n".join([*overview, *contents])}


def _page(module_name: str, purpose: str, homes: dict[tuple[str, int], str]) -> str:
    """The page of a module; `homes` says by name and object which module describes it, and is added to."""
    module = importlib.import_module(module_name)
    described, elsewhere = [], []
    for name in public_names(module_name):
        value = getattr(module, name)
        if inspect.ismodule(value):
            continue
        home = homes.setdefault((name, id(value)), module_name)
        if home != module_name:
            elsewhere.append(f"- {{py:obj}}`{home}.{name}`")
            continue
        if inspect.isclass(value):
            kind, options = "autoclass", ["   :members:"]
        elif inspect.isroutine(value):
            kind, options = "autofunction", []
        else:
            kind, options = "autodata", ["   :no-value:"]
        described += ["```{eval-rst}", f".. {kind}:: {module_name}.{name}", *options, "```", ""]
    if elsewhere:
        elsewhere = ["It also has, described elsewhere:", "", *elsewhere, ""]
    return "\n".join([f"# `{module_name}`", "", purpose, "", *elsewhere, *described])
