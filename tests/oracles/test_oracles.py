import pytest

from tests.oracles.every import EVERY_EXACT, EVERY_STATISTICAL


@pytest.mark.parametrize("oracle", EVERY_EXACT, ids=lambda oracle: oracle.name)
def test_exact(oracle):
    seen, held = oracle.check()
    assert held, f"{oracle.what}: seen {seen:.3g}, tolerance {oracle.tolerance}"


@pytest.mark.slow
@pytest.mark.parametrize("oracle", EVERY_STATISTICAL, ids=lambda oracle: oracle.name)
def test_statistical(oracle):
    seen, held = oracle.check()
    assert held, f"{oracle.what}: seen {seen:.3g}, tolerance {oracle.tolerance}"
