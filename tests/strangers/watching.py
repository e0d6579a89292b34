"""An example of a user's callback and logger: plain Lightning, without imports from vgm2p."""

import json
from pathlib import Path

from lightning import Callback
from lightning.pytorch.loggers import Logger


class Watch(Callback):
    """Adds up a norm of the weights at every multiple of `every` updates; the sum goes on after a resume."""

    def __init__(self, path: str, every: int = 10) -> None:
        self.path, self.every, self.seen, self.total = Path(path), every, [], 0.0

    def on_train_batch_end(self, trainer, pl_module, *unused):
        if pl_module.done % self.every == 0:
            self.seen.append(pl_module.done)
            self.total += float(sum(parameter.norm() for parameter in pl_module.parameters()))
            assert trainer.logger is not None

    def on_train_end(self, trainer, pl_module):
        self.path.write_text(json.dumps({"seen": self.seen, "total": self.total}))

    def state_dict(self):
        return {"seen": list(self.seen), "total": self.total}

    def load_state_dict(self, state):
        self.seen, self.total = list(state["seen"]), state["total"]


class Notebook(Logger):
    """Writes everything that it gets as one line of JSON each."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    @property
    def name(self):
        return "notebook"

    @property
    def version(self):
        return 0

    def write(self, **line):
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def log_metrics(self, metrics, step=None):
        self.write(step=step, metrics=metrics)

    def log_hyperparams(self, params):
        self.write(settings=params)

    def finalize(self, status):
        self.write(status=status)
