"""Simple policies for SMAC, and the list of running games."""

import psutil
import torch

STOP, EAST = 1, 4


class Rule:
    """Acts by a rule on what is legal; `fight` shoots the last target in range, else goes east (implements `Actor`)."""

    def __init__(self, rule):
        self.rule = rule

    def act(self, seen, memory, key, acting=None):
        legal = seen.legal
        rank = torch.arange(float(legal.shape[-1])).expand(legal.shape).clone()
        rank[..., EAST if self.rule == "fight" else STOP] += 1.5 if self.rule == "fight" else 1000
        return rank.masked_fill(~legal, -1).argmax(-1), memory


def games(home):
    """Return the stand-ins that run below `home`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if process.info["status"] != "zombie" and any(word.startswith(str(home)) for word in words):
            found.append(process)
    return found
