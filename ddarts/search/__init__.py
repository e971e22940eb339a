"""The search: nested, distributed architecture parameters found by gradient descent. Call `ddarts.search(config)`."""

from ddarts.runtime.package import make_callable

make_callable(__name__, "ddarts.search.engine:search")
