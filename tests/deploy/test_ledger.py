"""What Duet keeps for itself, and deploys that need nothing else."""

from __future__ import annotations

import msgspec
import pytest

from realtime.clickhouse.moment import server_now
from realtime.deploy.apply import deploy
from realtime.deploy.change import Kind
from realtime.deploy.ledger import Ledger
from realtime.deploy.live import active_plan, deployed_plan
from realtime.deploy.promote import settle
from realtime.errors import ConfigError
from realtime.planner.ir import LambdaSpec
from realtime.settings import Settings
from tests.deploy.conftest import MODELS, Site, fill, project


def spec(version: str) -> LambdaSpec:
    return LambdaSpec(name="busy", version=version, select="SELECT 1", batch="select 1", params=(), columns=())


def test_lambdas_are_registered_without_building_anything(site: Site) -> None:
    plan = site.compile(project(MODELS))
    fill(site, plan)
    settle(site.client, plan)
    ledger = Ledger(site.client, site.database)
    ledger.activate(plan)
    for version in ("one", "two"):
        changed = msgspec.structs.replace(plan, lambdas=(spec(version),))
        assert [c.kind for c in site.changes(changed)] == [Kind.REGISTER_LAMBDA]
        deploy(site.settings, changed, site.client, site.said.append)
        assert active_plan(site.client, site.database) == changed
        assert site.changes(changed) == ()
    assert ledger.lambdas() == {("busy", "one"), ("busy", "two")}
    (stored,) = site.rows("SELECT spec FROM {db}_duet.lambdas WHERE version = 'one'")
    assert msgspec.json.decode(stored[0], type=LambdaSpec) == spec("one")
    assert not [line for line in site.said if line.startswith("dbt")]
    assert ledger.deployed("steps", "relation") == {step.relation for step in plan.steps}


def test_a_state_is_in_the_phase_that_was_recorded_last(site: Site) -> None:
    ledger = Ledger(site.client, site.database)
    ledger.create()
    moment = server_now(site.client)
    ledger.mark(["a", "b"], "cut", moment)
    assert ledger.cutovers() == {"a": moment, "b": moment}
    assert ledger.complete() == frozenset()
    ledger.mark(["a"], "complete", moment)
    ledger.mark(["b"], "dropped")
    assert ledger.cutovers() == {"a": moment}
    assert ledger.complete() == {"a"}


def test_before_the_first_deploy_there_is_no_plan(site: Site) -> None:
    assert active_plan(site.client, site.database) is None
    (site.settings.project_dir / "dbt_project.yml").write_text("name: nothing\nprofile: nothing\n")
    url = f"{site.client.endpoint.url}/{site.database}"
    settings = Settings.load(site.settings.project_dir, {"CLICKHOUSE_URL": url})
    with pytest.raises(ConfigError, match="nothing is deployed") as caught:
        deployed_plan(settings, site.client)
    assert "duet deploy" in caught.value.remedy


def test_a_plan_that_can_not_be_read_is_named(site: Site) -> None:
    Ledger(site.client, site.database).create()
    site.client.insert(f"{site.database}_duet.deployments", ["id", "plan"], [["x", "{}"]])
    with pytest.raises(ConfigError, match="can't be read"):
        active_plan(site.client, site.database)
