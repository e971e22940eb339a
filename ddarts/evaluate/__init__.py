"""What is known of a network: accuracy, cost, drawings. Callable: `ddarts.evaluate(config)`."""

from ddarts.runtime.package import make_callable

make_callable(__name__, "ddarts.evaluate.accuracy:evaluate")
