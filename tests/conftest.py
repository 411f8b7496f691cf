"""What all tests share: every pass is verified, hypothesis runs the same examples each time, `--bless`; what the
tests of traced functions record is verified at every stage, printed and parsed.

`pytest --hypothesis-profile=explore` draws new and more examples instead.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from traced import check_stages

from jitgrad.ir import passes
from jitgrad.program import Program

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


@pytest.fixture(autouse=True)
def stages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Checks the stages of all programs that a test of tracing makes."""
    if not request.module.__name__.startswith(("test_trace", "test_footguns")):
        yield
        return
    made: list[Program] = []
    make = Program.__init__

    def remember(self: Program, *args: object, **kwargs: object) -> None:
        make(self, *args, **kwargs)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(Program, "__init__", remember)
    yield
    monkeypatch.undo()
    for program in made:
        check_stages(program)
