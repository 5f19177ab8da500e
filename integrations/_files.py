"""Where frameworks write by default: into the working directory, which all trials share."""

from __future__ import annotations

import os
from pathlib import Path

from tune_plugins import session as tune_session

_MOVED = "_tune_plugins_moved"


def move_into_trial(session: tune_session.Session, what: str, owner: object, *attributes: str) -> bool:
    """Have a framework's object write into the folder of the trial.

    Moved are the working directory itself, which is a framework's default, and paths relative to it: other trials would
    write the same files. A path that is absolute, or names the trial, is the script's own choice.

    Args:
        session: of the trial.
        what: who writes there, for the remark.
        owner: the object.
        attributes: names of those in which it has paths.

    Returns:
        Whether there was any to be moved.
    """
    # The object may outlive a trial in a warm process: {attribute: (the script's own path, where it was moved)}.
    known: dict[str, tuple[str, str]] = vars(owner).setdefault(_MOVED, {})
    moved = False
    for name in attributes:
        path = getattr(owner, name, None)
        if not isinstance(path, (str, os.PathLike)):
            continue
        given, before = known.get(name, ("", ""))
        if os.fspath(path) != before:
            given = os.fspath(path)
        own = _own_path(given, session.context)
        if own is not None and own != os.fspath(path):
            setattr(owner, name, own)
            known[name] = given, own
            moved = True
    if moved:
        session.remark(
            f"what {what} writes goes to the folder of each trial, since all of them share the working directory "
            "(an absolute path stays as it is)"
        )
    return moved


def _own_path(path: str, context: tune_session.TrialContext) -> str | None:
    here = os.getcwd()
    if not context.trial_dir or "://" in path or os.path.samefile(here, context.get_trial_dir()):
        return None
    if os.path.isabs(path) and os.path.normpath(path) != here:
        return None
    relative = os.path.relpath(path, here) if os.path.isabs(path) else os.path.normpath(path)
    names_trial = context.trial_id in relative or context.trial_name in relative
    return None if names_trial or relative.startswith((os.pardir, "~")) else str(Path(context.trial_dir, relative))
