"""Data sets held in memory, their split in halves, augmentation, and two loaders behind one interface.

- `specs`: what is known about each data set (no heavy imports).
- `datasets`: `load` reads a data set from disk into an `ImageSet` (in `images`); the formats live in `digits`, `idx`,
  `cifar` (with `unpickle`) and `folder`.
- `memory`: how many images may be held.
- `halves`: the seeded, stratified split that the search needs.
- `augment` and `draws`: what augmentation does, and the random numbers it uses.
- `loader`: the `Loader` interface and `make_loader`; `resident` and `torchvision` implement it.
- `download`: fetches the public archives, only when asked to.
"""
