"""Results over seeds, and whether two of them differ."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t
from tqdm import tqdm

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """One number per seed; prints as mean, standard deviation and count."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Sample standard deviation over the seeds; 0 for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def __str__(self):
        return f"{self.mean:.3f} ± {self.std:.3f} (n={len(self.values)})"


@dataclass(frozen=True)
class Comparison:
    """What one variant has more than another, over the same seeds.

    Args:
        differences: One number per seed, from `compare`.
        lower_is_better: Whether less is a gain, as of a loss.

    Raises:
        ValueError: If there are fewer than two seeds.
    """

    differences: tuple[float, ...]
    lower_is_better: bool = False

    def __post_init__(self):
        if len(self.differences) < 2:
            raise ValueError(
                f"{len(self.differences)} seed: an interval needs at least "
                "two, and three seeds are few"
            )

    @property
    def mean(self) -> float:
        """Mean difference over the seeds."""
        return statistics.fmean(self.differences)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean difference, by Student's t.

        It holds for seeds of this experiment (first weights, batches);
        another test set or task may differ by more.
        """
        count = len(self.differences)
        error = statistics.stdev(self.differences) / count**0.5
        half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
        return self.mean - half, self.mean + half

    @property
    def verdict(self) -> str:
        """Gain or loss, if the interval leaves 0 out, or "not decided"."""
        low, high = self.interval
        if low <= 0 <= high:
            return "not decided"
        return "gain" if (low > 0) != self.lower_is_better else "loss"

    def cells(self, close: str = "") -> tuple[str, str, str]:
        """Mean, interval and verdict, as three cells of a table.

        Args:
            close: Where rounding may change the verdict, "no gain" or "no
                loss", whichever holds on any machine; it stands in the
                verdict's place.

        Raises:
            ValueError: If `close` is another word, or the verdict is what it
                rules out.
        """
        if close not in ("", "no gain", "no loss"):
            raise ValueError(f"close={close!r}: 'no gain' or 'no loss'")
        if close == f"no {self.verdict}":
            raise ValueError(f"close={close!r}: the verdict is {self.verdict}")
        low, high = self.interval
        interval = f"{low:+.3f} to {high:+.3f}"
        return f"{self.mean:+.3f}", interval, close or self.verdict


def compare(
    one: Spread, other: Spread, *, lower_is_better: bool = False
) -> Comparison:
    """Compare two variants that met the same seeds, pair by pair.

    Args:
        one: Results of the variant in question.
        other: Those of its control, for the same seeds in the same order.
        lower_is_better: Whether less is a gain, as of a loss.

    Raises:
        ValueError: If the numbers of seeds differ or are below two.
    """
    if len(one.values) != len(other.values):
        raise ValueError(
            f"{len(one.values)} and {len(other.values)} seeds: pairs need "
            "the same"
        )
    pairs = zip(one.values, other.values, strict=True)
    return Comparison(tuple(a - b for a, b in pairs), lower_is_better)


def over_seeds(
    run: Callable[[int], Mapping[str, float]], seeds: Sequence[int]
) -> dict[str, Spread]:
    """Call `run(seed)` for each seed; gather each number it returns.

    Raises:
        ValueError: If there is no seed or the runs return different names.
    """
    if not seeds:
        raise ValueError("seeds=(): at least one is needed")
    results = [run(seed) for seed in tqdm(seeds, desc="seeds", leave=False)]
    if len({tuple(result) for result in results}) > 1:
        raise ValueError("run: it returns other names for other seeds")
    return {
        name: Spread(tuple(result[name] for result in results))
        for name in results[0]
    }
