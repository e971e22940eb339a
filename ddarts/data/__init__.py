"""Data sets in memory and in files, their split in halves, augmentation, and three loaders behind one interface.

- `specs`: what is known about each data set (no heavy imports).
- `datasets`: from a name and a folder to an `ImageSet` or a `FileSet` (in `images`); the formats live in `digits`,
  `idx`, `cifar` (with `unpickle`) and `folder`, which label a folder has in `classes`, single files in `decode`.
- `memory`: how many images may be held.
- `census`: what runs remember of their data, so that no label changes its meaning.
- `halves`: the seeded, stratified split that the search needs.
- `augment` and `draws`: what augmentation does, and the random numbers it uses; `geometry`, `policies` and `colour` say
  what these numbers mean, `pixels` does it in torch.
- `batches`: which images make up which batch, of which rank.
- `loader`: the `Loader` interface and `make_loader`; `resident` (with `stores`), `torchvision` and `dali` (with
  `dali_inputs`, `dali_pipelines` and `dali_policies`) implement it.
- `tools`: the command `ddarts data`, with `check` and `bad_files`.
- `download`: fetches the public archives, only when asked to.
"""
