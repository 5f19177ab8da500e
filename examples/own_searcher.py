"""A searcher of one's own, against random search on a function that takes no time, under a virtual clock.

Run it with ``python examples/own_searcher.py``. The class is the part to copy; the page "A searcher of your own" of the
documentation goes through it, and it passes the suite that the searchers of this project pass.
"""

from contextlib import suppress
from statistics import median

import tune_plugins as tune
from tune_plugins.errors import ArgumentError
from tune_plugins.search import BasicVariantGenerator, Outcome, Searcher


class NarrowingSearch(Searcher):
    """Draws from a box that it narrows around the best five every ten trials, or widens if nothing better was found."""

    def setup(self, task):
        """Begin with the whole space."""
        super().setup(task)
        if len(self.task.metrics) != 1:
            raise ArgumentError(
                "NarrowingSearch", [f"metric: expected one, got {self.metric!r}. Several: EvolutionarySearch()."]
            )
        # What has an order. Options that have none, and what functions compute, are left to chance.
        self.dimensions = [each for each in self.space.walk() if is_ordered(each.domain)]
        self.box = {each.name: (0.0, 1.0) for each in self.dimensions}  # in quantiles
        self.scores = []  # (loss, quantiles), the best one first
        self.best = float("inf")

    def suggest(self, trial_id, index):
        """Draw from the box until all constraints of the space hold."""
        self.look_at_box(index)
        rng = self.rng(index)
        for attempt in range(100):
            values = {each.name: each.at(rng.uniform(*self.box[each.name])) for each in self.dimensions}
            config = self.space.config_of(values, f"{self.seed}:{index}:{attempt}")
            if not self.space.broken(config):
                return config
        return self.space.variant(f"{self.seed}:{index}")  # from anywhere, or an error that names the constraint

    def on_suggested(self, trial_id, index, config):
        """Do the same for what somebody else suggested: the user, or an earlier life of the run."""
        self.look_at_box(index)

    def look_at_box(self, index):
        """Fit the box to the scores, at every tenth trial."""
        if index % 10 == 0 and self.scores:
            better, self.best = self.scores[0][0] < self.best, self.scores[0][0]
            for each in self.dimensions:
                self.box[each.name] = self.narrowed(each.name) if better else self.widened(each.name)

    def on_trial_complete(self, trial_id, result, outcome=Outcome.COMPLETED):
        """Keep the score, under the config that it was earned with."""
        if result and outcome is Outcome.COMPLETED:
            self.keep(result["config"], self.loss(result))

    def add_evaluated_point(self, config, value):
        """Keep what the user knows already."""
        self.keep(config, self.loss({self.task.metrics[0]: value}))

    def keep(self, config, loss):
        """Add a score: less is better, whatever the mode; None where the metric is no finite number."""
        if loss is None:
            return
        with suppress(ArgumentError):  # a scheduler that changes configs may leave the space
            values = self.space.values_of(config)
            here = [each for each in self.dimensions if each.name in values]  # those of other options are not
            self.scores.append((loss, {each.name: each.place(values[each.name]) for each in here}))
            self.scores.sort(key=lambda score: score[0])

    def narrowed(self, name):
        """The best five, and a little around them."""
        places = [places[name] for _, places in self.scores[:5] if name in places]
        if not places:
            return self.box[name]
        margin = max(0.02, (max(places) - min(places)) / 4)
        return max(0.0, min(places) - margin), min(1.0, max(places) + margin)

    def widened(self, name):
        """Twice the side of the box."""
        low, high = self.box[name]
        return max(0.0, low - (high - low) / 2), min(1.0, high + (high - low) / 2)


def is_ordered(domain):
    """Whether neighbours in it are alike."""
    return domain.has_quantiles and getattr(domain, "ordered", True)


def loss_of(config):
    """Stand in for a training."""
    return (config["x"] - 0.3) ** 2 + (config["depth"] - 6) ** 2 / 100


def best_losses(searcher_class):
    """Find the best loss of each of five runs."""
    space = {"x": tune.uniform(0, 1), "depth": tune.randint(1, 20)}
    for seed in range(5):
        config = tune.TuneConfig(metric="value", mode="min", num_samples=60, search_alg=searcher_class(), seed=seed)
        results = tune.simulate(
            lambda config: [loss_of(config)],
            param_space=space,
            tune_config=config,
            run_config=tune.RunConfig(verbose=0),
        )
        yield results.get_best_result().metrics["value"]


def main():
    """Compare the two."""
    for searcher in (BasicVariantGenerator, NarrowingSearch):
        print(f"{searcher.__name__}: {median(best_losses(searcher)):.6f} in half of the runs, or less")


if __name__ == "__main__":
    main()
