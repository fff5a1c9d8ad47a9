"""Training, ranking and serving on a GPU: `python -m benchmarks.gpu`.

The machine needs torch, transformers, accelerate, numpy and scipy, and the repository. Without `ml-1m.npz`, which
`python -m benchmarks.gpu --encode` writes on any machine with the package and the data, the rows of the recipe are
missing.
"""
