"""The catalogue of published datasets."""

import pytest

from vgm2p.datamodules.sources.catalogue import catalogue, entry_of, select
from vgm2p.errors import ConfigError


def test_the_catalogue_holds_every_cell_of_the_papers_tables():
    tables = [entry.paper_table for entry in catalogue().values()]
    assert (tables.count(1), tables.count(2), len(tables)) == (15, 12, 91)
    assert [entry.id for entry in select(["omiga/*/2ant/Expert"])] == [entry_of("omiga/mamujoco/2ant/Expert").id]
    with pytest.raises(ConfigError, match="did you mean 'omiga/mamujoco/2ant/Expert'"):
        entry_of("omiga/mamujoco/2ant/Exprt")
