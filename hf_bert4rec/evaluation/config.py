"""The settings of one evaluation."""

from dataclasses import dataclass, field

from ..data.arguments import option
from .metrics import DEFAULT_KS

PARTS = ("validation", "test")


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out part, metrics and seeds; ValueError for an unknown part, no list lengths, or a number out of range."""

    part: str = option("part of the split", "test", choices=PARTS)
    ks: list[int] = field(default_factory=lambda: [*DEFAULT_KS], metadata={"help": "values of k, as in NDCG@k"})
    examples: int = option("histories to print with their recommendations", 5)
    seed: int = option("of intervals, sampled negatives, random baseline and examples", 0)
    batch_size: int = option("users scored at once", 256)
    device: str | None = option("where the model runs; by default cuda if available")

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"part is {self.part!r}; it must be one of {', '.join(PARTS)}")
        if not self.ks or min(self.ks) < 1:
            raise ValueError(f"ks are {self.ks}; list lengths must be 1 or more")
        if self.examples < 0 or self.batch_size < 1:
            raise ValueError(f"examples is {self.examples} and batch_size {self.batch_size}; at least 0 and 1")

    @property
    def headline_k(self) -> int:
        """List length of headline metric, slices and plots: 10 if it is one of `ks`, else the first."""
        return 10 if 10 in self.ks else self.ks[0]
