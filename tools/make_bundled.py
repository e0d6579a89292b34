"""Cut the bundled dataset from the full recording: `python tools/make_bundled.py <halfcheetah-medium-replay.hdf5>`.

It takes all episodes of three behaviour policies: uniform random, TRPO with 30 % uniform actions, and the recording's
expert with noise 0.3. On these 50 episodes, plain cloning fails and value guidance succeeds. The same input gives the
same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vgm2p.datamodules.layout.combine import select
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.sources.recording import columns_of, read_recording
from vgm2p.io.files import sha256_file

BEHAVIOURS = (0, 1, 8)
TARGET = Path(__file__).resolve().parent.parent / "vgm2p" / "data" / "6halfcheetah_quickstart.h5"


def main(recording: Path) -> None:
    """Write the bundled dataset, and print its size and digests."""
    arrays, attributes = read_recording(recording)
    columns = columns_of(arrays, attributes, sha256_file(recording))
    columns.attributes["content_sha256"] = ""
    chosen = np.flatnonzero(np.isin(columns.episodes["behaviour"], BEHAVIOURS))
    part = select(columns, chosen)
    del part.attributes["content_sha256"]
    part.attributes["name"] = "6halfcheetah_quickstart"
    digest = write(TARGET, part, compress=True)
    returns = part.episodes["return"]
    print(f"{len(returns)} episodes, return {returns.mean():.1f} +- {returns.std():.1f}, {TARGET.stat().st_size} bytes")
    print(f"content {digest}\nfile    {sha256_file(TARGET)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
