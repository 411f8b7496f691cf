"""What all tests share: every pass is verified, hypothesis runs the same examples each time, `--bless`.

`pytest --hypothesis-profile=explore` draws new and more examples instead.
"""

import pytest
from hypothesis import HealthCheck, settings

from jitgrad.ir import passes

passes.VERIFY_EACH = True

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **COMMON)
settings.register_profile("explore", max_examples=2000, **COMMON)
settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bless", action="store_true", help="rewrite what tests/filetests/*.jir expect to what they get"
    )


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--bless"))
