"""``parity``: on every real-time model, whether it answers as the batch model does."""

from collections.abc import Iterator

import dagster as dg

from orchestration.failure import explained
from orchestration.keys import batch_key, realtime_key
from orchestration.prepared import Prepared
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.parity.compare import Compared, parity
from realtime.turn import BATCH, turn

CHECK = "parity"


def parity_checks(prepared: Prepared) -> list[dg.AssetChecksDefinition]:
    """One check per model, run together in one step: the batch database is opened once."""
    models = {realtime_key(step.model): step.model for step in prepared.plan.steps}
    if not models:
        return []

    @dg.multi_asset_check(name=CHECK, specs=[_spec(model) for model in models.values()], can_subset=True)
    def compare(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        asked = sorted(models[key.asset_key] for key in context.selected_asset_check_keys)
        with explained(), turn(prepared.settings, BATCH):
            client = ClickHouse(find_endpoint(prepared.settings))
            compared = parity(prepared.settings, prepared.plan, client, models=asked)
        yield from (result(one) for one in compared)

    return [compare]


def result(compared: Compared) -> dg.AssetCheckResult:
    """The check's outcome; an ERROR where a row differs."""
    return dg.AssetCheckResult(
        asset_key=realtime_key(compared.model),
        check_name=CHECK,
        passed=compared.differing == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=_outcome(compared),
        metadata={
            "rows_batch": compared.rows_batch,
            "rows_realtime": compared.rows_realtime,
            "differing": compared.differing,
            "examples": dg.MetadataValue.json([str(example) for example in compared.examples]),
            **_since(compared),
        },
    )


def _since(compared: Compared) -> dict[str, dg.MetadataValue]:
    """What came since the watermark that both sides were compared at, where something did."""
    if compared.watermark is None:
        return {}
    counts = {"arrived": compared.arrived, "changed": compared.changed, "left_out": compared.left_out}
    return {
        "watermark": dg.MetadataValue.timestamp(compared.watermark),
        **{name: dg.MetadataValue.int(n) for name, n in counts.items()},
    }


def _outcome(compared: Compared) -> str:
    found = f"{compared.differing} rows differ" if compared.differing else f"{compared.rows_realtime} rows, all equal"
    return ": ".join(filter(None, (found, compared.reason, compared.note)))


def _spec(model: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        CHECK,
        asset=realtime_key(model),
        additional_deps=[batch_key(model)],
        description=f"Every row of {model} is the same in batch and in real time.",
    )
