"""The epochs of a search, of which the first move the weights alone where it starts from a baseline, and its rates."""

from ddarts.config.search import SearchConfig
from ddarts.runtime.schedule import cosine


class Schedule:
    """Epochs of every phase and the learning rates in each epoch, counted from 0 over the whole run."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.pretraining = config.pretrain_epochs if config.arch_baseline else 0
        self.epochs = self.pretraining + config.epochs
        # The published program lets α's rate run along while the weights pretrain; past its end a cosine comes back.
        self._first_alpha_epoch = 0 if config.recipe == "official" else self.pretraining

    def pretrains(self, epoch: int) -> bool:
        """Whether the epoch moves the weights alone."""
        return epoch < self.pretraining

    def weight_rate(self, epoch: int) -> float:
        """Learning rate of the weights: one cosine over all epochs."""
        return cosine(epoch, self.epochs, self.config.learning_rate, self.config.learning_rate_min)

    def alpha_rate(self, epoch: int) -> float:
        """Learning rate of α: a cosine over the epochs that move them."""
        low, high = self.config.arch_learning_rate_min, self.config.arch_learning_rate
        return low + (high - low) * self.alpha_share(epoch)

    def alpha_share(self, epoch: int) -> float:
        """Where α's learning rate stands between its end, 0, and its start, 1."""
        period = self.config.epochs
        along = max(0, epoch - self._first_alpha_epoch) % (2 * period)
        return cosine(min(along, 2 * period - along), period, 1.0)

    def alpha_steps(self, per_epoch: int, total: int) -> list[tuple[int, float]]:
        """Steps of α in each epoch of a run of `total` steps, and `alpha_share` there."""
        epochs = range(self.pretraining, self.epochs)
        return [(max(0, min(per_epoch, total - e * per_epoch)), self.alpha_share(e)) for e in epochs]
