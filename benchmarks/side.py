"""What the scripts of all sides share: take a job from the command line, print the figures as a line of JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.engine import Engine


def run_job(package: str, *, adapters: Mapping[str, str] | None = None, distributions: tuple[str, ...] = ()) -> None:
    """Carry out the job given as the only argument, ``{"module", "work", "parameters", "storage"}`` in JSON.

    The last line on standard output is ``{"figures": {name: number}, "samples": {name: {task: [number of each seed]}},
    "versions": {package: version}}``. All else that the job or its children print goes to standard error.
    """
    job = json.loads(sys.argv[1])
    answer = os.dup(1)
    os.dup2(2, 1)
    engine = Engine(package, Path(job["storage"]), adapters or {}, distributions)
    work = getattr(importlib.import_module(job["module"]), job["work"])
    found = work(engine, **job["parameters"])
    samples = {name: value for name, value in found.items() if isinstance(value, Mapping)}
    figures = {name: value for name, value in found.items() if name not in samples}
    line = json.dumps({"figures": figures, "samples": samples, "versions": engine.versions()})
    with os.fdopen(answer, "w") as stream:
        stream.write(line + "\n")
