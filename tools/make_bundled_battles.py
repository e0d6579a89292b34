"""Record the bundled battles: `python -m tools.make_bundled_battles` (needs `make install-smax`).

SMAX's heuristic plays 43 battles of 2s3z at each of the noises 0, 0.1 and 0.3. Observations and states are rounded to
multiples of 1 / GRID, so that the file stays below 2 MB. The same machine writes the same bytes every time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.writing import write
from vgm2p.io.files import sha256_file

NAME = "2s3z_quickstart"
BATTLES = 43  # per noise
GRID = 1024
TARGET = Path(__file__).resolve().parent.parent / "vgm2p" / "data" / f"{NAME}.h5"


def main() -> None:
    """Write the bundled battles, and print their size and digests."""
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / f"{NAME}.h5"
        words = ["collect", "env=smax/2s3z", "recipe=mixed", f"episodes=[{BATTLES},{BATTLES},{BATTLES}]"]
        subprocess.run([sys.executable, "-m", "vgm2p", *words, f"out={recorded}"], check=True)
        columns = read(recorded)
        for name in ("observations", "state"):
            columns.steps[name] = (np.round(columns.steps[name] * GRID) / GRID).astype(np.float32)
    del columns.attributes["content_sha256"]
    digest = write(TARGET, columns, compress=True)
    returns, steps = columns.episodes["return"], int(columns.steps["has_action"].sum())
    print(f"{len(returns)} episodes, {steps} steps, return {returns.mean():.2f} +- {returns.std():.2f}, ", end="")
    print(f"{TARGET.stat().st_size} bytes\ncontent {digest}\nfile    {sha256_file(TARGET)}")


if __name__ == "__main__":
    main()
