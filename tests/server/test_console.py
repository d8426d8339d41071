"""The console in a real browser, over a deployed project whose words and rows try to be HTML."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.promote import stage_views
from realtime.project.manifest import Project
from realtime.serving.tags import Tags
from realtime.serving.tokens import Grant, Tokens
from realtime.settings import Settings
from tests.deploy.conftest import Site
from tests.planner.small import Declared, project
from tests.planner.test_lambdas import written
from tests.server.running import Running, running, until

ATTACK = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
DATABASE = "console"
SOURCES = {
    "app.events": Declared(
        {"id": "bigint", "k": "varchar", "n": "integer", "seen_at": "timestamp"}, not_null=("id", "seen_at")
    )
}
MODELS = {
    "staged": "select id, k, n, seen_at from {{ source('app', 'events') }}",
    "per_minute": "select k, date_trunc('minute', seen_at) as minute, count(*) as events, sum(n) as total "
    "from {{ ref('staged') }} group by 1, 2",
    "busiest": "select k, sum(events) as events from {{ ref('per_minute') }} group by k",
}
MINUTES = """
select minute, sum(events) as events, sum(total) as total from {{ ref('per_minute') }}
where total >= {{ param('least', 'integer', default=0, min=-5, max=500, description='The least total.') }}
group by minute order by minute
"""
BY_KEY = """
select k, sum(events) as events, 9007199254740993 as exact from {{ ref('per_minute') }}
where k = any({{ param('keys', 'varchar[]', default=['a', 'b']) }})
    or {{ param('which', 'varchar', default='all', enum=['all', 'given']) }} = 'all'
group by k order by k
"""
LATEST = "select id, seen_at from {{ ref('staged') }} where seen_at <= {{ as_of() }} order by seen_at desc limit 3"
OPTIONS = {"minutes": {"paging": {"size": 15}}}
QUERIES = {"minutes": written(MINUTES), "by_key": written(BY_KEY), "latest": written(LATEST)}


def authored() -> Project:
    """A project of one source, three models and three lambdas, one of which is described by `ATTACK`."""
    found = project(
        SOURCES, MODELS, queries=QUERIES, options={"busiest": {"mode": "refresh", "refresh_every": "1 hour"}}
    )
    described = {"by_key": ATTACK, "minutes": "Events minute by minute.", "latest": "The newest events."}
    return dataclasses.replace(
        found,
        queries=tuple(
            dataclasses.replace(q, description=described[q.name], options=OPTIONS.get(q.name, {}))
            for q in found.queries
        ),
    )


@pytest.fixture(scope="module")
def server(endpoint: Endpoint, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("console")
    site = Site(Settings.load(folder, {}), clickhouse, DATABASE)
    plan = site.deploy(authored(), build=stage_views)
    rows = [
        {"id": i, "k": ["a", "b", ATTACK][i % 3], "n": i, "seen_at": f"2024-05-01 12:{i % 20:02}:00"} for i in range(60)
    ]
    wrong = {"id": "x", "k": ATTACK, "seen_at": "2024-05-01"}
    with running(endpoint, DATABASE, folder) as found:
        taken = found.ask("/v1/events/app.events", [*rows, wrong]).json
        assert taken == {"successful_rows": 60, "quarantined_rows": 1}
        known = {spec.name: [spec.version] for spec in plan.lambdas}
        Tags(clickhouse, DATABASE, known).move("minutes", "production", ["latest"])
        until(lambda: found.ask("/v1/lambdas/minutes/tags/production").status == 200)
        yield found
    for row in clickhouse.rows(f"SELECT name FROM system.databases WHERE startsWith(name, '{DATABASE}')"):
        clickhouse.execute(f"DROP DATABASE `{row['name']}` SYNC")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not on the path: make chromium installs it"
    with sync_playwright() as playwright:
        # Without its sandbox, which root has not; the only pages are ours.
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def window(browser: Browser, server: Running) -> Iterator[Page]:
    """A page that reports every error of a script and of the policy."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    found, wrong = context.new_page(), list[str]()
    found.set_default_timeout(15_000)
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield found
    assert [w for w in wrong if "status of 40" not in w] == []
    context.close()


def opened(page: Page, server: Running, place: str, title: str) -> Page:
    """The console at ``place``, once it shows ``title``; nothing that data holds ran or became an element."""
    page.goto(f"http://127.0.0.1:{server.port}/console#/{place}")
    expect(page).to_have_title(f"{title} · Duet console")
    harmless(page)
    return page


def harmless(page: Page) -> None:
    assert page.locator("main img, main script").count() == 0
    assert "owned" not in page.title()


def test_a_lambda_is_found_run_and_drawn(window: Page, server: Running) -> None:
    page = opened(window, server, "lambdas", "Lambdas")
    page.keyboard.press("/")
    page.keyboard.type("minute by")
    expect(page.locator(".list li:visible")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="minutes", exact=True)).to_be_visible()
    expect(page.locator(".list a[aria-current=page]")).to_be_focused()
    least = page.get_by_label("least")
    assert [least.get_attribute(name) for name in ("min", "max", "placeholder")] == ["-5", "500", "0"]
    least.fill("45")
    least.press("Enter")
    expect(page.locator("table.rows tbody tr")).to_have_count(15)
    assert page.locator("table.rows tbody tr").first.inner_text().split("\t") == ["2024-05-01 12:05:00Z", "1", "45"]
    assert re.search(
        r"^200\s+15 rows · [\d.]+ ms · [\d.]+ ms in the database · version \w+", page.inner_text(".outcome")
    )
    assert page.locator(".chart svg circle").count() == 15
    page.get_by_label("What is drawn").select_option("total")
    expect(page.get_by_role("img", name="total by minute")).to_be_visible()
    assert page.inner_text(".curl pre") == f"curl -s 'http://127.0.0.1:{server.port}/v1/lambdas/minutes?least=45'"
    assert page.url.endswith("#/lambdas/minutes?least=45")
    page.reload()
    expect(page.get_by_label("least")).to_have_value("45")
    expect(page.locator("td .tag", has_text="production")).to_be_visible()
    assert "FROM console_state.per_minute__" in page.locator("article > div > pre").inner_text()
    page.get_by_role("button", name="DuckDB").click()
    assert '"memory"."main"."per_minute"' in page.locator("article > div > pre").inner_text()


def test_pages_are_turned(window: Page, server: Running) -> None:
    page = opened(window, server, "lambdas/minutes", "minutes")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("table.rows tbody tr")).to_have_count(15)
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("table.rows tbody tr")).to_have_count(5)
    assert page.locator("table.rows tbody tr").first.inner_text().startswith("2024-05-01 12:15:00Z")
    expect(page.get_by_role("button", name="Next page")).to_have_count(0)
    expect(page.get_by_label("cursor")).not_to_have_value("")
    page.get_by_label("least").fill("50")
    expect(page.get_by_label("cursor")).to_have_value("")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("table.rows tbody tr")).to_have_count(10)


def test_words_of_the_project_and_values_stay_text(window: Page, server: Running) -> None:
    page = opened(window, server, "lambdas/by_key", "by_key")
    assert page.locator("article p").first.inner_text() == ATTACK
    page.get_by_label("keys").fill("b\n" + ATTACK)
    page.get_by_label("which varchar").select_option("given")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("table.rows tbody tr")).to_have_count(2)
    cells = [row.split("\t") for row in page.locator("table.rows tbody tr").all_inner_texts()]
    assert cells == [[ATTACK, "20", "9007199254740993"], ["b", "20", "9007199254740993"]]
    assert page.locator(".chart rect").count() == 2
    harmless(page)


def test_an_error_is_shown_with_its_remedy(window: Page, server: Running) -> None:
    page = opened(window, server, "lambdas/latest", "latest")
    page.get_by_label("as_of").fill("yesterday")
    page.get_by_role("button", name="Run").click()
    said = page.get_by_role("alert").inner_text()
    assert "400 bad_request" in said
    assert "as_of" in said
    assert "request " in said
    opened(page, server, "lambdas/minuts", "minuts")
    assert "did you mean minutes?" in page.get_by_role("alert").inner_text()


def test_models_show_lineage_shape_and_age(window: Page, server: Running) -> None:
    page = opened(window, server, "models", "Models")
    names = page.locator(".graph a").evaluate_all("found => found.map(a => a.getAttribute('aria-label')).sort()")
    assert names == ["aggregate per_minute", "lambda by_key", "lambda latest", "lambda minutes", "refresh busiest",
                     "source app.events", "stream staged"]  # fmt: skip
    row = page.locator("tbody tr", has_text="per_minute").inner_text().split("\t")
    assert row[1:4] == ["aggregate", "grouped by k, minute, kept on insert", "60"]
    assert "every 1 hour" in page.locator("tbody tr", has_text="busiest").inner_text()
    page.locator(".graph a", has_text="busiest").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_title("busiest · Duet console")
    assert page.locator(".graph a").count() == 4
    assert "REFRESH EVERY 1 HOUR" in page.inner_text("article")
    assert "{{" not in page.inner_text("article")


def test_sources_show_rates_and_the_newest_refused_rows(window: Page, server: Running) -> None:
    page = opened(window, server, "sources/app.events", "app.events")
    assert "60 rows in the last hour" in page.inner_text("figcaption")
    refused = page.locator("tbody tr").first.inner_text()
    assert 'id expected a whole number, got "x"' in refused
    assert json.dumps(ATTACK) in refused
    found = server.ask("/v1/sources").json["sources"][0]
    assert (found["rows"], sum(m["n"] for m in found["minutes"])) == (60, 60)
    assert found["quarantine"]["waiting"][0]["n"] == 1


def test_it_is_dark_and_narrow_where_the_reader_is(window: Page, server: Running) -> None:
    opened(window, server, "sources", "Sources")
    bright = "getComputedStyle(document.body).backgroundColor"
    assert window.evaluate(bright) == "rgb(255, 255, 255)"
    window.emulate_media(color_scheme="dark")
    assert window.evaluate(bright) == "rgb(18, 22, 27)"
    window.set_viewport_size({"width": 360, "height": 700})
    for place, title in (
        ("lambdas/by_key", "by_key"),
        ("models/per_minute", "per_minute"),
        ("sources/app.events", "app.events"),
    ):
        opened(window, server, place, title)
        assert window.evaluate("document.documentElement.scrollWidth") <= 360, place
        expect(window.locator(".side")).to_be_hidden()
    window.emulate_media(color_scheme="light")
    window.set_viewport_size({"width": 1200, "height": 900})


def test_the_policy_lets_in_nothing_from_elsewhere(server: Running) -> None:
    page = server.ask("/console")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self'")
    files = re.findall(rb'"(/console/[a-z.]+)"', page.body)
    assert len(files) == 2
    for path in [*map(bytes.decode, files), "/console/lambdas.js", "/console/dom.js"]:
        found = server.ask(path)
        assert found.status == 200
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)|@import|innerHTML|//cdn", found.body), path
    assert server.ask("/console/..%2Fapp.py").error["code"] == "not_found"
    assert server.ask("/v1/models/per_minut").error["details"] == {"remedy": "did you mean per_minute?"}


def test_a_token_is_asked_for_and_kept_in_the_tab(window: Page, server: Running, clickhouse: ClickHouse) -> None:
    tokens = Tokens(clickhouse, DATABASE)
    runs = tokens.create(Grant("runs", run=("*",)))
    admin = tokens.create(Grant("admin", run=("*",), admin=True))
    try:
        until(lambda: server.ask("/v1/models").status == 401)
        bearer = {"Authorization": f"Bearer {runs}"}
        for path in ("/v1/models", "/v1/sources", "/v1/traffic", "/v1/lambdas/minutes/definition"):
            assert server.ask(path, headers=bearer).status == 403, path
        window.goto("about:blank")
        window.goto(f"http://127.0.0.1:{server.port}/console#/lambdas/minutes")
        window.locator("#secret").fill("duet_wrong")
        window.locator("#secret").press("Enter")
        expect(window.locator("#ask-why")).to_have_text("this token is not known, or was revoked.")
        window.locator("#secret").fill(admin)
        window.get_by_role("button", name="Use it").click()
        window.get_by_role("button", name="Run").click()
        expect(window.locator("table.rows tbody tr")).to_have_count(15)
        assert '-H "Authorization: Bearer $DUET_TOKEN"' in window.inner_text(".curl pre")
        assert admin not in window.content()
        assert window.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]") == [[admin], []]
        window.goto(f"http://127.0.0.1:{server.port}/docs")
        expect(window.locator("details.op").first).to_be_visible()
        window.evaluate("sessionStorage.clear()")
        window.reload()
        expect(window.locator("#operations")).to_contain_text("asks for a token")
    finally:
        tokens.clear()
