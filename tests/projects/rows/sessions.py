"""Visitors of a web site: bursts of page views, clicks, conversions, and campaigns that are edited."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.projects.rows.dice import START, WORDS, Dice, Row, Rows, iso

VISITORS, DAYS = 140, 40
PATHS = (
    "/",
    "",
    "/product/1",
    "/product/zoë",
    "/cart",
    "/checkout",
    "/checkout/",
    "/über-uns",
    "/a b/c",
    "/%F0%9F%98%80",
)
HOSTS = ("shop.example", "www.shop.example", "blog.example:8080", "bücher.example")
REFERRERS = (
    None, "", "https://www.google.com/search?q=x", "http://bing.com", "https://m.facebook.com/x", "https://t.co/abc", "android-app://x",
    "https://partner.example/", "not a url",
)  # fmt: skip
AGENTS = ("Mozilla/5.0 (iPad)", "Mobile Safari", "Firefox", "Googlebot/2.1", "", None, "CRAWLER", "Tablet X")
PAUSES = (timedelta(minutes=30), timedelta(minutes=31), timedelta(microseconds=1))
CAMPAIGNS = ("spring", "sommer%20sale", "brand", "retarget")


def rows(seed: int) -> Rows:
    """Rows by source."""
    dice = Dice(seed)
    views = [v for n in range(VISITORS) for v in _visits(dice, n)]
    return {
        "web.page_views": dice.sent_again(views, 0.05),
        "web.clicks": dice.sent_again([c for v in views for c in _clicks(dice, v)]),
        "web.conversions": dice.sent_again([_conversion(dice, n, dice.one(views)) for n in range(160)], 0.04),
        "web.campaigns": [_campaign(dice, c, edit) for c in (*CAMPAIGNS, "never") for edit in range(dice.whole(1, 4))],
    }


def _visits(dice: Dice, number: int) -> list[Row]:
    visitor, views = f"v{number:03d}{dice.one(['', '', 'é', '😀'])}", list[Row]()
    for _ in range(dice.one([1, 1, 2, 4])):
        at = dice.moment(DAYS, far=0.02)
        for place in range(dice.one([1, 1, 2, 5, 9])):
            views.append(_view(dice, visitor, number, at, f"{visitor}-{len(views)}", first=place == 0))
            at += dice.one([timedelta(seconds=dice.whole(1, 900)), *PAUSES])
    return views


def _view(dice: Dice, visitor: str, number: int, at: datetime, page_view_id: str, *, first: bool) -> Row:
    query = dice.one(["", "", "#top", f"?utm_source={dice.one(['google', 'facebook', 'newsletter-7', ''])}"])
    if query.startswith("?"):
        query += f"&utm_medium={dice.one(['cpc', 'email', 'banner', 'organic', ''])}&utm_campaign={dice.one(CAMPAIGNS)}"
    experiment = {"language": dice.one(["de", "ja", None]), "screen": {"width": dice.one([390, "1920", "wide", 1.5])}}
    return {
        "page_view_id": page_view_id,
        "visitor_id": dice.maybe(visitor, 0.02),
        "user_id": number if dice.happens(0.3) else None,
        "url": dice.maybe(f"{dice.one(['https', 'http'])}://{dice.one(HOSTS)}{dice.one(PATHS)}{query}", 0.02),
        "referrer": dice.one(REFERRERS) if first else None,
        "user_agent": dice.one(AGENTS),
        "properties": dice.one([experiment, {**experiment, "experiment": "B"}, {}, 7, None]),
        "load_ms": dice.one([None, 0.0, -0.0, 12.5, 3000.0, 3000.1, 1e300, "nan", dice.whole(1, 5000) / 7]),
        "viewed_at": iso(at),
    }


def _clicks(dice: Dice, view: Row) -> list[Row]:
    at = datetime.fromisoformat(view["viewed_at"])
    return [
        {
            "click_id": dice.whole(1, 10**15),
            "visitor_id": view["visitor_id"],
            "page_view_id": dice.maybe(view["page_view_id"]),
            "element": dice.one(["Button.Buy", "nav.Home", "LINK", "", None, *WORDS]),
            "x": dice.maybe(dice.one([0, 99, 100, -1, dice.whole(0, 180)])),
            "y": dice.maybe(dice.whole(-150, 150)),
            "clicked_at": iso(at + timedelta(seconds=dice.one([-1, 0, 0, 5, 290, 7200]))),
        }
        for _ in range(dice.one([0, 0, 1, 2]))
    ]


def _conversion(dice: Dice, number: int, view: Row) -> Row:
    at = datetime.fromisoformat(view["viewed_at"]) + timedelta(minutes=dice.one([0, 1, 30, 31, 10000, 50000]))
    return {
        "conversion_id": number,
        "visitor_id": dice.maybe(view["visitor_id"] or "unknown", 0.03),
        "goal": dice.one(["purchase", "purchase", "signup", "", None]),
        "revenue": dice.maybe(dice.decimal(500), 0.2),
        "converted_at": iso(at),
    }


def _campaign(dice: Dice, campaign: str, edit: int) -> Row:
    start = (START + timedelta(days=dice.whole(-5, 20))).date()
    return {
        "campaign": campaign,
        "owner": dice.one(["Ann", "", None]),
        "daily_budget": dice.one([None, "0.00", "100.00", "33.33"]),
        "starts_on": start.isoformat(),
        "ends_on": dice.one([None, (start + timedelta(days=15)).isoformat()]),
        "edited_at": iso(START + timedelta(days=edit)),
        "removed": dice.one([False, False, True, None]),
    }
