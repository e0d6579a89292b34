"""Lightning callbacks of a run: logs, evaluation, checkpoints, progress. All of them count updates."""
