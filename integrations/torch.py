"""PyTorch: loops written by hand report, save, go on, stop and exploit by two lines.

Outside a tuning run `TrainState` does nothing, so that the same script trains alone.

>>> def train(config):
...     model = make_model()
...     optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
...     state = TrainState(model=model, optimizer=optimizer)
...     for epoch in state.epochs(20):
...         loss = train_one_epoch(model, optimizer)
...         state.report(loss=loss)

What it touches of PyTorch: documented functions, and state dicts as far as their entries are. What is not, also in
`_torch_optimizers`, is in `INTERNALS`: the wrappers of `torch.compile` and of accelerate, what schedulers keep, and the
hook for the steps of all optimizers, by which one that was not given is noticed.
"""

from __future__ import annotations

import inspect
import io
import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakSet

from tune_plugins import session as tune_session
from tune_plugins._imports import require
from tune_plugins.arguments import Mistakes, is_whole
from tune_plugins.errors import ArgumentError, TrialUnwound, TuneError, WarmRestartNeeded
from tune_plugins.integrations._adapter import Adapter, Copy, Fit, Internals, Port, built_model
from tune_plugins.integrations._metrics import Metrics
from tune_plugins.session.model_port import names_applied
from tune_plugins.session.values import plain
from tune_plugins.space.nested import flatten

require("torch", extra="torch", needed_by="tune_plugins.integrations.torch")

import torch  # noqa: E402
from torch import distributed  # noqa: E402
from torch.nn.parallel import DataParallel, DistributedDataParallel  # noqa: E402
from torch.optim import Optimizer  # noqa: E402
from torch.optim.optimizer import register_optimizer_step_post_hook  # noqa: E402

from tune_plugins.integrations._torch_optimizers import (  # noqa: E402
    Built,
    hyperparameters,
    restore_built,
    without_numpy,
)
from tune_plugins.integrations._torch_optimizers import apply as apply_to_optimizers  # noqa: E402

__all__ = ["TrainState"]

INTERNALS = Internals(
    seen=("2.13.0",),
    names=(
        "torch._dynamo.eval_frame.OptimizedModule: _orig_mod",
        "torch.optim.optimizer.register_optimizer_step_post_hook: hook",
        "accelerate.optimizer.AcceleratedOptimizer: optimizer",
        "accelerate.scheduler.AcceleratedScheduler: scheduler",
        "torch.optim.lr_scheduler.LRScheduler: base_lrs, _last_lr, _step_count",
        "torch.optim.lr_scheduler.SequentialLR: _schedulers",
        "torch.optim.lr_scheduler.ChainedScheduler: _schedulers",
        "torch.optim.lr_scheduler.CyclicLR: _scale_fn_custom",
    ),
)

_FORMAT = 1  # of the checkpoint's file


class TrainState(Adapter):
    """Everything from which a training loop can go on, and the loop's side of the tuning run.

    ::

        state = TrainState(model=model, optimizer=optimizer, scheduler=scheduler)
        for epoch in state.epochs(20):
            ...
            state.report(loss=loss, accuracy=accuracy)

    In a tuning run the loop goes on by itself from the trial's checkpoint, ends when the trial is stopped, and takes
    over the state and the mutated hyper-parameters of another trial while it runs. Learning rate, weight decay,
    momentum and other settings of the optimizers are changed by themselves (where the script uses the config's value as
    it is), anything else by `apply_config`; what nobody takes makes the function start anew from the checkpoint.

    In a distributed training (`torch.distributed` initialised) each rank makes one: rank 0 reports and saves, all of
    them load, stop and change their settings. Models are saved without the wrappers of DDP and `torch.compile`.

    Args:
        model: an `nn.Module`; several as a list or dict.
        optimizer: a `torch.optim.Optimizer`; several as a list or dict.
        scheduler: a learning rate scheduler; several as a list or dict. Steps of it belong before `report`.
        metrics: what to report of that which `report` is given: None for all, a name, several names, or
            {name to report: source}.
        filename: name of the file in the checkpoint, written by `torch.save`, read with ``weights_only=True``.
        frequency: save a checkpoint every so many reports; 0: only when the tuning run asks for one.
        checkpoint_at_end: save one when the loop ends.
        save_checkpoints: False: report only; the trial can then neither go on from a checkpoint nor exploit.
        apply_config: called on an exploit with {flat name: new value} of the hyper-parameters that change, and with the
            whole config before, by flat name; changes what it can in the running training and returns the names of
            those. Or override the method of this name.
        **objects: any others with `state_dict` and `load_state_dict` (a gradient scaler, averaged weights, a metric),
            or `torch.Generator`; several as a list or dict. None is left out.

    Raises:
        ArgumentError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        model: Any = None,
        optimizer: Any = None,
        scheduler: Any = None,
        metrics: Metrics = None,
        filename: str = "state.pt",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        save_checkpoints: bool = True,
        apply_config: Callable[[Mapping[str, Any], Mapping[str, Any]], Collection[str]] | None = None,
        **objects: Any,
    ) -> None:
        mistakes = Mistakes("TrainState")
        self._objects = _collect({"model": model, "optimizer": optimizer, "scheduler": scheduler, **objects}, mistakes)
        mistakes.function(
            "apply_config",
            apply_config,
            "of the changed hyper-parameters and the old config",
            arguments=2,
            none=True,
            remedy="Leave it out if only settings of optimizers change.",
        )
        mistakes.flag("save_checkpoints", save_checkpoints)
        self.set_up(
            metrics=metrics,
            filename=filename,
            frequency=frequency,
            checkpoint_at_end=checkpoint_at_end,
            mistakes=mistakes.found,
        )
        self.saves, self._apply, self._model = save_checkpoints, apply_config, model
        self._fit: _Run = _Run()

    @property
    def _optimizers(self) -> list[Optimizer]:
        return [self._objects[name] for name in self._optimizer_names()]

    def _optimizer_names(self) -> list[str]:
        return [name for name, thing in self._objects.items() if isinstance(thing, Optimizer)]

    @property
    def _schedulers(self) -> list[Any]:
        optimizers = self._optimizers
        return [thing for thing in self._objects.values() if any(_drives(thing, each) for each in optimizers)]

    @property
    def model(self) -> Any:
        """What was given as the model."""
        return self._model

    def epochs(self, n: int) -> Collection[int]:
        """What to loop over instead of ``range(n)``: in a tuning run only the epochs that are still to be trained.

        The state is restored by this call. A script may have several such loops, one after the other; when a trial
        goes on, those that had been complete are left out.

        Args:
            n: number of epochs in all, also of a trial that goes on.

        Returns:
            ``range(n)`` outside a tuning run, else something to loop over once.

        Raises:
            ArgumentError: `n` is not a number of epochs; the checkpoint does not fit.
        """
        if not is_whole(n) or n < 0:
            raise ArgumentError("TrainState.epochs", [f"n: expected a number of epochs, 0 or more, got {n!r}."])
        ranks = self._fit.ranks if self._fit.loop else _Ranks.here()
        session = tune_session.current() if ranks.rank == 0 else None
        trial = "" if session is None else session.context.trial_id
        active, start, owns, trial = ranks.from_first((session is not None, _path(session), self._owns(session), trial))
        if not active:
            return range(n)
        if not self._fit.loop or session is not self._fit.session:
            self._begin(session, ranks, start, owns, trial)
        return _Epochs(self, n)

    def report(self, metrics: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        """Report the metrics of an epoch, as its last statement. Does nothing outside a tuning run.

        `training_iteration` is the number of epochs trained; an epoch that is not reported is counted all the same.
        In a distributed training each rank calls it, and the values of rank 0 are those reported.

        Args:
            metrics: names and numbers (or tensors of one element).
            **values: the same as keywords.

        Raises:
            TrialUnwound: the function is to be left at once (evicted, restarted).
            TuneError: a second report in an epoch, or one before the loop.
            ArgumentError: a name given as `metrics` of the class is not among those reported.
        """
        run = self._fit
        if not run.loop:
            if tune_session.current() is not None:
                raise TuneError(
                    "TrainState.report() was called before the loop over TrainState.epochs(). "
                    "Write: for epoch in state.epochs(n): ...; state.report(loss=loss)"
                )
            return
        if run.skipping:
            return  # reported before the checkpoint was saved
        if run.epoch is not None and run.reported:
            raise TuneError(
                f"TrainState.report() was called twice in epoch {run.epoch}. Each epoch has one result: call it once, "
                "at the end of the epoch, with all metrics: state.report(loss=loss, accuracy=accuracy)"
            )
        for name in list(run.awaited):
            self._refuse_awaited(name)
        self._refuse_unknown_schedule()
        run.reported = True
        run.iteration = run.offset + run.next_epoch if run.epoch is not None else run.iteration + 1
        run.stopped = self._send({**(metrics or {}), **values}) or run.stopped
        run.steps_at_report = self._steps()

    def replace(self, **objects: Any) -> Any:
        """Take what the loop has made anew in the place of what was given, e.g. an optimizer for layers unfrozen.

        A trial that goes on behind that epoch has to do it again, before its next step; the state is loaded then::

            unfrozen = False
            for epoch in state.epochs(20):
                if epoch >= 5 and not unfrozen:
                    unfrozen = True
                    model.backbone.requires_grad_(True)
                    optimizer = state.replace(optimizer=torch.optim.SGD(model.parameters(), lr=config["lr"]))

        Args:
            **objects: by the names under which the old ones were given. A scheduler of an optimizer that is replaced
                must be, too; None for one that is not to be followed by another.

        Returns:
            What was given; a tuple where it is several.

        Raises:
            ArgumentError: a name is not known, an object has no state; the checkpoint to go on from does not fit.
        """
        mistakes = Mistakes("TrainState.replace")
        given = {name: thing for name, thing in objects.items() if thing is not None}
        found = _collect(given, mistakes) if given else {}
        for name in objects:
            if name != "scheduler" and not any(_top(key) == name for key in self._objects):
                known = ", ".join(dict.fromkeys(repr(_top(key)) for key in self._objects))
                mistakes.add(f"{name}: expected a name under which an object was given, {known}. Write one of them.")
        replaced = {key: thing for key, thing in self._objects.items() if _top(key) in objects}
        kept = {key: thing for key, thing in self._objects.items() if key not in replaced}
        for key, thing in kept.items():
            if any(_drives(thing, old) for old in replaced.values() if isinstance(old, Optimizer)):
                mistakes.add(
                    f"{_top(key)}: expected one that drives the new optimizer; that which was given drives the old one."
                    f" Write state.replace(optimizer=optimizer, {_top(key)}=...), or {_top(key)}=None if there is none."
                )
        modules = [thing for thing in (*kept.values(), *found.values()) if isinstance(thing, torch.nn.Module)]
        known_ones = {id(parameter) for module in modules for parameter in module.parameters()}
        for key, thing in found.items():
            if (
                isinstance(thing, Optimizer)
                and modules
                and not any(
                    id(parameter) in known_ones for group in thing.param_groups for parameter in group["params"]
                )
            ):
                mistakes.add(
                    f"{_top(key)}: expected one of parameters of the model that TrainState was given, got one of "
                    "others. Where the model is a new one, too, write state.replace(model=model, optimizer=optimizer)."
                )
        mistakes.raise_if_any()
        before, run = dict(zip(self._optimizers, self._fit.built, strict=False)), self._fit
        order = dict.fromkeys([*map(_top, self._objects), *objects])
        everything = {**kept, **found}
        self._objects = {key: thing for name in order for key, thing in everything.items() if _top(key) == name}
        self._model = objects.get("model", self._model)
        if run.loop:
            run.replaced.update(list(objects))
            self._watch(before)
            self._load_awaited()
        return tuple(objects.values()) if len(objects) > 1 else next(iter(objects.values()), None)

    def apply_config(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Collection[str]:
        """Change what the function `apply_config` takes, and settings of the optimizers that are as the config says.

        In a distributed training it is called on each rank. For overriding it see
        `tune_plugins.integrations.Adapter.apply_config`; `self.model` is what was given as the model.

        Raises:
            WarmRestartNeeded: the function is to start anew, with the reason given.
        """
        applied: set[str] = set()
        if self._apply is not None:
            applied = names_applied(self._apply(changed, before), changed, "TrainState: ")
        rest = {name: value for name, value in changed.items() if name not in applied}
        return applied | apply_to_optimizers(self._optimizers, self._schedulers, rest, before, self._fit.built)

    # ------------------------------------------------------------------------------ the loop

    def _owns(self, session: tune_session.Session | None) -> bool:
        """Checkpoints of a trial belong to the first state that loops in it; later ones only report."""
        if session is None or session is self._fit.session:
            return self._fit.saves
        return self.saves and session.claim_checkpoints()

    def _begin(
        self, session: tune_session.Session | None, ranks: _Ranks, start: str | None, owns: bool, trial: str
    ) -> None:
        """The first loop in this entry of the training function."""
        for hook in self._fit.hooks:
            hook.remove()
        self._fit = run = _Run(self, session, ranks, owns)
        run.trial = trial
        if self.saves and session is not None:
            self._keep_best(run)
        self._watch({})
        if start is not None and owns:
            self._load(self._read(start), live=False)

    def _watch(self, before: Mapping[Optimizer, Any]) -> None:
        """Look at each step of the optimizers, and remember how they were built.

        Args:
            before: how those were built that are watched already.
        """
        run, optimizers, schedulers = self._fit, self._optimizers, self._schedulers
        for hook in run.hooks:
            hook.remove()
        run.hooks = []
        run.built = hyperparameters(optimizers, schedulers)
        for number, optimizer in enumerate(optimizers):
            if optimizer in before:
                run.built[number]["groups"] = before[optimizer]["groups"]
            run.steps.setdefault(number, 0)
            run.hooks.append(optimizer.register_step_pre_hook(partial(self._before_step, number)))
            run.hooks.append(optimizer.register_step_post_hook(_Counter(run, number)))

    def _before_step(self, number: int, optimizer: Optimizer, *_: Any) -> None:
        run = self._fit
        run.stepping = True
        groups = run.built[number]["groups"]
        if len(optimizer.param_groups) > len(groups):  # added by the loop
            groups += hyperparameters([optimizer])[0]["groups"][len(groups) :]
        if run.awaited:
            self._load_awaited()
            self._refuse_awaited(self._optimizer_names()[number])

    def _after_any_step(self, optimizer: Optimizer, *_: Any) -> None:
        """Behind each step of any optimizer of the process: what trains the model is to be known."""
        run = self._fit
        if run.stepping or optimizer in run.foreign or any(optimizer is own for own in self._optimizers):
            return
        ours = {id(parameter) for parameter in self._parameters()}
        if any(id(parameter) in ours for group in optimizer.param_groups for parameter in group["params"]):
            raise TuneError(
                f"The model is trained by an optimizer ({type(optimizer).__name__}) that TrainState was not given: it "
                "would be missing in checkpoints, and new hyper-parameters would not reach it. If the loop has made it "
                "anew, write: optimizer = state.replace(optimizer=optimizer). If there are several, give all of them: "
                "TrainState(optimizer=[first, second])."
            )
        run.foreign.add(optimizer)

    def _loop(self, n: int) -> Iterator[int]:
        run = self._fit
        run.loop += 1
        if run.loop < run.resumed_loop:
            run.skipping = True
            return
        if run.loop != run.resumed_loop:
            run.offset, run.next_epoch = run.iteration, 0
        run.skipping, run.length = False, n
        anybody = register_optimizer_step_post_hook(self._after_any_step) if run.saves and self._optimizers else None
        try:
            while run.next_epoch < n and not run.stopped:
                run.epoch, run.reported, run.steps_at_report = run.next_epoch, False, None
                run.next_epoch += 1
                yield run.epoch
                self._check_order()
        except GeneratorExit:  # the script's own break, or an error; a state that was reported is whole
            if run.reported and not run.failed:
                self.finish_fit()
            raise
        else:
            self.finish_fit()
        finally:
            if anybody is not None:
                anybody.remove()
            run.epoch = None
            run.iteration = max(run.iteration, run.offset + run.next_epoch)  # also if the last was not reported

    def _check_order(self) -> None:
        """Steps taken between a report and the end of its epoch would be missing in its checkpoint."""
        run = self._fit
        if run.steps_at_report is not None and run.steps_at_report != self._steps():
            raise TuneError(
                f"An optimizer or scheduler was stepped between TrainState.report() and the end of epoch {run.epoch}: "
                "a checkpoint of that report lacks the step. Make report() the last statement of the loop."
            )

    def _refuse_unknown_schedule(self) -> None:
        """A scheduler that was not given would begin anew at each resume."""
        given = [thing for key, thing in self._objects.items() if _top(key) == "scheduler"]
        of_unknown_kind = any(not any(_drives(thing, each) for each in self._optimizers) for thing in given)
        if of_unknown_kind or not self._fit.saves:
            return
        for name, optimizer in zip(self._optimizer_names(), self._optimizers, strict=True):
            scheduled = any("initial_lr" in group for group in optimizer.param_groups)
            if scheduled and not any(_drives(thing, optimizer) for thing in self._schedulers):
                raise TuneError(
                    f"{name}: a learning rate scheduler drives it (its groups have an 'initial_lr'), and TrainState "
                    "was not given any: its schedule would begin anew whenever the trial goes on. Write "
                    "TrainState(..., scheduler=scheduler)."
                )

    def _steps(self) -> list[Any]:
        return [*self._fit.steps.values(), *(getattr(s, "last_epoch", None) for s in self._schedulers)]

    # ------------------------------------------------------------------------------ reporting

    def _send(self, metrics: dict[str, Any]) -> bool:
        run = self._fit
        if run.ranks.size > 1:
            run.random_states = run.ranks.from_all(_random_state(one_device=True))
        if run.session is None:
            return self._follow()
        try:
            metrics = _numbers(metrics)
            if self._metrics is not None:
                selected = self.select(metrics, "Give them to report(), e.g. state.report(loss=loss).")
                metrics = {name: metrics[source] for name, source in selected.items()}
            stopped = self.send(
                metrics,
                run.iteration,
                offers_state=run.epoch is not None,
                last=run.epoch is not None and run.next_epoch >= run.length,
            )
        except BaseException as error:
            run.failed = True
            kind = type(error) if isinstance(error, TrialUnwound) else TuneError
            run.ranks.from_first(("raised", (kind, f"{error}")))
            raise
        run.ranks.from_first(("stopped", stopped))
        return stopped

    def _follow(self) -> bool:
        """In ranks other than 0: do what rank 0 is told to do in its report."""
        run = self._fit
        while True:
            call, value = run.ranks.from_first(None)
            if call == "stopped":
                return bool(value)
            if call == "raised":
                kind, text = value
                run.failed = True
                _raise(kind, text)
            _, failure = _outcome(partial(getattr(self, call), *value))
            run.ranks.from_all(None if failure is None else failure[:2])

    def _together(self, method: str, *arguments: Any) -> Any:
        """Call a method here, in rank 0, and on all others; what fails on one of them fails here."""
        if method == "save_state":
            return self.save_state(*arguments)  # what is to be had from the others was sent with the report
        ranks = self._fit.ranks
        ranks.from_first((method, arguments))
        result, failure = _outcome(partial(getattr(self, method), *arguments))
        failures = ranks.from_all(None if failure is None else failure[:2])
        if failure is not None:
            raise failure[2]
        for rank, other in enumerate(failures):
            if other is not None:
                kind, text = other
                _raise(WarmRestartNeeded if kind == "warm" else TuneError, f"rank {rank}: {text}")
        return result

    # ------------------------------------------------------------------------------ checkpoints

    def save_state(self, directory: Path) -> None:
        """Write the states of all objects, the place in the loop and the random states; in rank 0."""
        self._check_order()
        run = self._fit
        states = {name: _as_data(name, _state_of(thing)) for name, thing in self._objects.items()}
        torch.save(
            {
                "format": _FORMAT,
                "loop": run.loop,
                "epoch": run.next_epoch,
                "offset": run.offset,
                "iteration": run.iteration,
                "objects": states,
                "trial": run.trial,
                "frozen": {
                    name: [each for each, parameter in thing.named_parameters() if not parameter.requires_grad]
                    for name, thing in self._objects.items()
                    if isinstance(thing, torch.nn.Module)
                },
                "optimizers": self._optimizer_names(),
                "built": run.built,
                "replaced": dict(run.replaced),
                "random": run.random_states or [_random_state(one_device=False)],
            },
            directory / self.filename,
        )

    def position(self) -> Any:
        """Epochs and steps: there may be some behind a report that are not reported."""
        return self._fit.next_epoch, self._steps()

    def copy_model(self) -> Copy | None:
        """The states of the modules."""
        modules = {name: thing for name, thing in self._objects.items() if isinstance(thing, torch.nn.Module)}
        states = {name: _copied(_as_data(name, thing.state_dict())) for name, thing in modules.items()}
        filename = self.filename

        def write(directory: Path) -> None:
            torch.save({"format": _FORMAT, "objects": states}, directory / filename)

        return write

    @classmethod
    def read_model(cls, directory: Path, filename: str, build: Any, config: Mapping[str, Any]) -> Any:
        """What was given as the model: one module, or several in a list or dict, as `build` makes them; to predict."""
        objects = torch.load(directory / filename, map_location="cpu", weights_only=True)["objects"]
        ready = isinstance(build, (torch.nn.Module, Mapping, list, tuple))
        model = build if ready else built_model(build, config, "PyTorch")
        mistakes = Mistakes("load_model")
        for name, module in _collect({"model": model}, mistakes).items():
            if name not in objects:
                mistakes.add(f"build: makes {name!r}, and the checkpoint has {', '.join(map(repr, objects))}.")
            else:
                module.load_state_dict(objects[name])
                module.eval()
        mistakes.raise_if_any()
        return model

    def _load(self, saved: Mapping[str, Any], live: bool) -> None:
        run, replaced = self._fit, Counter(saved.get("replaced", {}))
        if live:
            if replaced != run.replaced:
                name = next(iter((replaced - run.replaced) + (run.replaced - replaced)))
                raise WarmRestartNeeded(f"the loop has replaced {name!r} in one of the two trainings, in the other not")
        else:
            run.saved, run.awaited = saved, {name for name in self._objects if self._is_awaited(name, saved)}
            run.resumed_loop = saved["loop"]
            if saved.get("trial") == run.trial:  # what another one has frozen may be its config's
                self._freeze(saved.get("frozen", {}))
        self._restore([name for name in self._objects if name not in run.awaited], saved, live)
        run.next_epoch, run.offset, run.iteration = saved["epoch"], saved["offset"], saved["iteration"]
        rank = run.ranks.rank
        if rank < len(saved["random"]):
            _set_random_state(saved["random"][rank])

    def _freeze(self, frozen: Mapping[str, Collection[str]]) -> None:
        """Let parameters be trained as they were: the loop may have unfrozen some, which it does not do again."""
        for key, names in frozen.items():
            thing = self._objects.get(key)
            for name, parameter in thing.named_parameters() if isinstance(thing, torch.nn.Module) else ():
                trained = name not in names
                if parameter.requires_grad is not trained and (parameter.is_floating_point() or parameter.is_complex()):
                    parameter.requires_grad_(trained)

    def _restore(self, names: Collection[str], saved: Mapping[str, Any], live: bool) -> None:
        """Load the states of these objects, with the hyper-parameters that the script has built."""
        states = saved["objects"]
        if missing := [name for name in names if name not in states]:
            raise ArgumentError(
                "TrainState",
                [
                    f"{name}: the checkpoint to go on from has no state of it; it has {', '.join(map(repr, states))}. "
                    "Give the objects under the names with which the checkpoint was saved."
                    for name in missing
                ],
            )
        for name in names:
            try:
                _load_into(self._objects[name], states[name])
            except (RuntimeError, ValueError, KeyError) as error:
                if not live:
                    raise TuneError(
                        f"{name}: its state in the checkpoint to go on from does not fit: {error}\nBuild it before "
                        "TrainState.epochs() as it was when the checkpoint was saved, with all its layers and groups "
                        "of parameters; what differs belongs into the config."
                    ) from error
                reason = f"{error}".partition("\n")[0]
                raise WarmRestartNeeded(f"the donor's {name} does not fit into this one: {reason}") from error
        theirs = dict(zip(saved["optimizers"], saved["built"], strict=True))
        built = {name: own for name, own in zip(self._optimizer_names(), self._fit.built, strict=True) if name in names}
        restore_built(
            [self._objects[name] for name in built],
            self._schedulers,
            [theirs.get(name, _NOTHING_BUILT) for name in built],
            list(built.values()),
            live=live,
        )

    def _is_awaited(self, name: str, saved: Mapping[str, Any]) -> bool:
        """The object of this name is not yet what the loop had made of it when the checkpoint was saved."""
        top, run = _top(name), self._fit
        if run.replaced[top] < saved.get("replaced", {}).get(top, 0):
            return True
        thing = self._objects[name]
        if not isinstance(thing, Optimizer) or name not in saved["optimizers"]:
            return False
        return _groups(saved, name) > len(thing.param_groups)

    def _load_awaited(self) -> None:
        run = self._fit
        if ready := [name for name in self._objects if name in run.awaited and not self._is_awaited(name, run.saved)]:
            run.awaited.difference_update(ready)
            self._restore(ready, run.saved, live=False)
        run.awaited.intersection_update(self._objects)

    def _refuse_awaited(self, name: str) -> None:
        if name not in self._fit.awaited:
            return
        top = _top(name)
        if self._fit.saved.get("replaced", {}).get(top, 0):
            what = "is one that the loop makes anew"
            how = (
                f"if epoch >= 5 and not unfrozen: unfrozen = True; ...; {top} = state.replace({top}=...), "
                "instead of: if epoch == 5"
            )
        else:
            what = f"has {_groups(self._fit.saved, name)} groups of parameters, which the loop adds"
            how = (
                f"if epoch >= 5 and len({top}.param_groups) == 1: {top}.add_param_group(...), instead of: if epoch == 5"
            )
        raise TuneError(
            f"{name}: that of the checkpoint to go on from {what}, and here this has not been done. A trial that goes "
            f"on behind that epoch must do it, too, before its next step. Write e.g. {how}."
        )

    def _read(self, directory: str | Path) -> Any:
        return torch.load(self.checkpoint_file(directory), map_location="cpu", weights_only=True)

    def load_state(self, directory: Path, iteration: int) -> None:
        """Put another trial's states into the objects that are there, on each rank."""
        saved = self._read(directory)
        if saved["loop"] != self._fit.loop:
            raise WarmRestartNeeded(f"the donor is in loop {saved['loop']} over epochs, this one in {self._fit.loop}")
        self._load(saved, live=True)
        for parameter in self._parameters():
            parameter.grad = None  # left over from steps of the state that is given up

    def _parameters(self) -> Iterator[torch.Tensor]:
        for thing in self._objects.values():
            if isinstance(thing, torch.nn.Module):
                yield from thing.parameters()
            elif isinstance(thing, Optimizer):
                yield from (parameter for group in thing.param_groups for parameter in group["params"])


class _Epochs(Collection[int]):
    """The epochs of one loop in a tuning run."""

    def __init__(self, state: TrainState, n: int) -> None:
        self._state, self._n, self._used = state, n, False

    def __iter__(self) -> Iterator[int]:
        if self._used:
            raise TuneError("What TrainState.epochs() returned is to be looped over once. Call epochs(n) again.")
        self._used = True
        return self._state._loop(self._n)

    def __len__(self) -> int:
        return self._n

    def __contains__(self, epoch: object) -> bool:
        return epoch in range(self._n)


class _Run(Fit):
    """What a `TrainState` knows of one entry into the training function.

    Args:
        state: it.
        session: in rank 0.
        ranks: the processes of the training.
        owns: the checkpoints belong to this state.
    """

    def __init__(
        self, state: TrainState | None = None, session: Any = None, ranks: _Ranks | None = None, owns: bool = False
    ) -> None:
        counts = owns and session is not None and not session.has_reported
        super().__init__(session, counts, Port(state) if owns and session is not None and state is not None else None)
        self.saves = owns
        self.trial = ""  # id
        self.ranks = ranks or _Ranks()
        self.loop = 0  # number of the loop, from 1
        self.resumed_loop = 0  # that of the checkpoint, 0 for a fresh start
        self.skipping = False  # behind a loop that was complete when the checkpoint was saved
        self.epoch: int | None = None  # in progress
        self.next_epoch = 0
        self.length = float("inf")  # epochs of the loop
        self.offset = 0  # iterations before this loop
        self.iteration = 0
        self.reported = False  # in this epoch
        self.stopped = False
        self.failed = False  # the report was left by an exception
        self.built: Built = []
        self.random_states: list[dict[str, Any]] = []  # of all ranks, at the last report
        self.replaced: Counter[str] = Counter()  # how often, by name
        self.saved: Mapping[str, Any] = {}  # the checkpoint that this has gone on from
        self.awaited: set[str] = set()  # objects that the loop has yet to make what they were in it
        self.foreign: WeakSet[Optimizer] = WeakSet()  # optimizers that train something else
        self.stepping = False  # an optimizer that was given; what it calls in its step is its own
        self.steps: dict[int, int] = {}
        self.steps_at_report: list[Any] | None = None
        self.hooks: list[Any] = []


@dataclass(frozen=True, slots=True)
class _Counter:
    """Counts the steps of an optimizer."""

    run: _Run
    number: int

    def __call__(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.run.steps[self.number] += 1
        self.run.stepping = False


@dataclass(frozen=True, slots=True)
class _Ranks:
    """The processes of a distributed training, or this one alone."""

    rank: int = 0
    size: int = 1
    group: Any = None

    @classmethod
    def here(cls) -> _Ranks:
        if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
            return cls()
        # On the CPU whatever the training uses, and patient: rank 0 may wait long for a verdict.
        group = distributed.new_group(backend="gloo", timeout=timedelta(days=365))
        return cls(distributed.get_rank(), distributed.get_world_size(), group)

    def from_first(self, value: Any) -> Any:
        """The value that rank 0 has."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def from_all(self, value: Any) -> list[Any]:
        """The values of all ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.group)
        return values


def _collect(given: Mapping[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """The objects by name, those in lists and dicts as ``name/index`` and ``name/key``, without wrappers."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{key}": one for key, one in value.items()}
        elif isinstance(value, (list, tuple)):
            found |= {f"{name}/{index}": one for index, one in enumerate(value)}
        elif value is not None:
            found[name] = value
    for name, value in found.items():
        if inspect.isclass(value) or not (
            isinstance(value, torch.Generator)
            or (callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None)))
        ):
            mistakes.add(
                f"{name}: expected an object with state_dict() and load_state_dict(), got {value!r}. "
                "Leave out what has no state to be saved."
            )
    if not found:
        mistakes.add("expected at least a model to save. Write TrainState(model=model, optimizer=optimizer).")
    return {name: _unwrapped(value) for name, value in found.items()}


_NOTHING_BUILT: dict[str, list[dict[str, Any]]] = {"groups": [], "schedules": []}


def _top(name: str) -> str:
    """The name under which an object, or several, were given."""
    return name.partition("/")[0]


def _groups(saved: Mapping[str, Any], name: str) -> int:
    """Groups of parameters of an optimizer in a checkpoint."""
    return len(saved["objects"][name]["param_groups"])


def _unwrapped(thing: Any) -> Any:
    while True:
        if isinstance(thing, (DistributedDataParallel, DataParallel)):
            thing = thing.module
        elif isinstance(thing, torch.nn.Module) and isinstance(getattr(thing, "_orig_mod", None), torch.nn.Module):
            thing = thing._orig_mod  # torch.compile
        elif type(thing).__module__ == "accelerate.optimizer":  # what accelerator.prepare makes of it
            thing = thing.optimizer
        elif type(thing).__module__ == "accelerate.scheduler":
            thing = thing.scheduler
        else:
            return thing


def _drives(thing: Any, optimizer: Optimizer) -> bool:
    return getattr(thing, "optimizer", None) is optimizer


def _state_of(thing: Any) -> Any:
    return thing.get_state() if isinstance(thing, torch.Generator) else thing.state_dict()


def _load_into(thing: Any, state: Any) -> None:
    if isinstance(thing, torch.Generator):
        thing.set_state(state)
    else:
        thing.load_state_dict(state)


def _path(session: tune_session.Session | None) -> str | None:
    return None if session is None or session.start_checkpoint is None else session.start_checkpoint.path


_DATA = frozenset({type(None), bool, int, float, complex, str, bytes, torch.Tensor, torch.nn.Parameter})


def _as_data(name: str, state: Any) -> Any:
    """The state as what can be loaded with ``weights_only=True``; that it cannot is to be noticed when it is saved."""
    if _is_data(state):
        return state
    state = without_numpy(state)
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        torch.load(file, weights_only=True)
    except Exception as error:
        reason = next(
            (line.strip() for line in f"{error}".splitlines() if "GLOBAL" in line or "Unsupported" in line), ""
        )
        raise TuneError(
            f"{name}: its state_dict() holds more than tensors, numbers and text, so a checkpoint of it would not be "
            f"safe to load ({reason or type(error).__name__}). Make state_dict() return plain data."
        ) from error
    return state


def _is_data(state: Any) -> bool:
    if type(state) in _DATA:
        return True
    if isinstance(state, dict):
        return all(_is_data(key) and _is_data(value) for key, value in state.items())
    return type(state) in (list, tuple) and all(map(_is_data, state))


def _random_state(one_device: bool) -> dict[str, Any]:
    """Of the generators that training code uses; plain data."""
    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if (numpy := sys.modules.get("numpy")) is not None:
        name, keys, *rest = numpy.random.get_state()
        state["numpy"] = (name, keys.tolist(), *rest)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        # A rank has one device; asking for the others would occupy them.
        state["cuda"] = [torch.cuda.get_rng_state()] if one_device else torch.cuda.get_rng_state_all()
    return state


def _set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    if "numpy" in state and (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.set_state(tuple(state["numpy"]))
    if "cuda" in state and torch.cuda.is_available():
        if len(state["cuda"]) == 1:
            torch.cuda.set_rng_state(state["cuda"][0])
        elif len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])


def _copied(state: Any) -> Any:
    """A copy of a state, on the CPU."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {name: _copied(value) for name, value in state.items()}
    return type(state)(map(_copied, state)) if type(state) in (list, tuple) else state


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics with tensors and NumPy scalars as plain numbers, also in nested dicts."""
    for name, value in flatten(metrics).items():
        if isinstance(value, torch.Tensor) and value.numel() != 1:
            raise TuneError(
                f"TrainState.report(): expected one number for {name!r}, got a tensor of shape "
                f"{tuple(value.shape)}. Write e.g. {name}.mean()."
            )
    numbers: dict[str, Any] = plain(metrics)
    return numbers


def _outcome(call: Callable[[], Any]) -> tuple[Any, Any]:
    """(what a call returns, None) or (None, (kind, text, error))."""
    try:
        return call(), None
    except WarmRestartNeeded as reason:
        return None, ("warm", f"{reason}", reason)
    except Exception as error:
        return None, ("failed", f"{type(error).__name__}: {error}", error)


def _raise(kind: type[BaseException], text: str) -> NoReturn:
    raise kind(text)
