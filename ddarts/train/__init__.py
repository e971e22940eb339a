"""Training of derived networks. Callable: `ddarts.train(config)`."""

from ddarts.runtime.package import make_callable

make_callable(__name__, "ddarts.train.engine:train")
