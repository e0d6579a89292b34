"""Everything that `fit` does: blocks of updates, CUDA graphs, comparison runs, the final evaluation, the manifest."""
