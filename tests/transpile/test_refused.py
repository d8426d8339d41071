"""Every statement in tests/fixtures/refused is refused, in the words that stand below it."""

from __future__ import annotations

import pytest

from realtime.errors import RefusedError
from realtime.project.binder import Binder
from realtime.transpile.transpile import transpile
from tests.transpile.cases import Case, read
from tests.transpile.rewrite import message


@pytest.mark.parametrize("case", read("refused"), ids=str)
def test_refusal(case: Case, schema: Binder) -> None:
    with pytest.raises(RefusedError) as refusal:
        transpile(case.sql, schema)
    assert message(refusal.value) == case.expected
