"""Subscriptions of some accounts: their changes as states and as events, invoices, attempts to collect them."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.projects.rows.dice import START, WORDS, Dice, Row, Rows, iso

ACCOUNTS, SUBSCRIPTIONS, INVOICES = 80, 160, 600
OUTCOMES = (("succeeded",), ("failed", "succeeded"), ("failed",) * 3, ("failed", None, "succeeded"))
PLANS = ("free", "starter", "team", "enterprise", "legacy")


def rows(seed: int) -> Rows:
    """Rows by source."""
    dice = Dice(seed)
    subscriptions = [_subscription(dice, n) for n in range(SUBSCRIPTIONS)]
    events = [e for s in subscriptions for e in _events(dice, s)]
    invoices = [_invoice(dice, n) for n in range(INVOICES)]
    return {
        "billing.accounts": _versions(dice, [_account(dice, n) for n in range(ACCOUNTS)], "deleted"),
        "billing.plans": [_plan(dice, n, plan, version) for n, plan in enumerate(PLANS) for version in (1, 2)],
        "billing.subscriptions": _versions(dice, subscriptions, "is_deleted"),
        "billing.subscription_events": dice.sent_again(events, 0.05),
        "billing.invoices": invoices,
        "billing.payment_attempts": [a for i in invoices for a in _attempts(dice, i)],
    }


def _account(dice: Dice, number: int) -> Row:
    return {
        "account_id": f"acc_{number:03d}",
        "company_name": dice.one([f"Company {number}", f"  Größe {number} GmbH ", *WORDS, None]),
        "industry": dice.one(["Retail", "SaaS", "ÖPNV", "", None]),
        "country": dice.one(["de", "usa", "F", "", None, "日本"]),
        "employees": dice.maybe(dice.one([0, 9, 10, 99, 1000, 2147483647, -1])),
        "owner_email": dice.maybe(dice.one([f"a{number}@Example.com", "nobody", "x@y@z.example", "@"])),
        "created_at": iso(dice.maybe(dice.moment(30))),
        "changed_at": iso(START),
        "deleted": False,
    }


def _versions(dice: Dice, first: list[Row], deleted: str) -> list[Row]:
    """Rows with later versions; some delete, some come back, and a few have the same version as another."""
    found = []
    for row in first:
        found.append(row)
        for step in range(1, dice.one([1, 1, 2, 3])):
            changed_at = iso(START + timedelta(hours=step))
            found.append({**row, deleted: dice.one([False, False, True, None]), "changed_at": changed_at})
    return found


def _plan(dice: Dice, number: int, plan: str, version: int) -> Row:
    features = {"max_projects": 10**number, "support": dice.one(["mail", "phone", None]), "sso": number > 2}
    return {
        "plan_id": plan,
        "plan_name": plan.title(),
        "tier": number,
        "price": ["0.00", "9.99", "49.00", "1188.00", "30.01"][number],
        "billing_interval": ["month", "month", "quarter", "year", None][number],
        "features": features if version == 2 else {"sso": "false"},
        "version": version,
    }


def _subscription(dice: Dice, number: int) -> Row:
    started = dice.moment(300, far=0)
    ended = started + timedelta(days=dice.whole(0, 200), seconds=dice.whole(0, 86400))
    status = dice.one(["active", "active", "past_due", "trialing", "cancelled", None])
    return {
        "subscription_id": f"sub_{number:04d}",
        "account_id": dice.maybe(f"acc_{dice.whole(0, ACCOUNTS + 5):03d}", 0.04),
        "plan_id": dice.maybe(dice.one(PLANS)),
        "status": status,
        "seats": dice.maybe(dice.one([1, 1, 5, 10, 250])),
        "started_at": iso(dice.maybe(started, 0.03)),
        "cancelled_at": iso(ended) if status in ("cancelled", None) else None,
        "trial_ends_on": dice.one([None, (started + timedelta(days=14)).date().isoformat()]),
        "changed_at": iso(START),
        "is_deleted": False,
    }


def _events(dice: Dice, subscription: Row) -> list[Row]:
    at, events = START + timedelta(seconds=dice.whole(0, 200 * 86400)), []
    for number in range(dice.one([1, 1, 2, 4, 6])):
        kinds = (
            ["created"] if number == 0 else ["upgraded", "downgraded", "renewed", "cancelled", "reactivated", "note"]
        )
        events.append({
            "event_id": dice.uuid(),
            "subscription_id": dice.maybe(subscription["subscription_id"], 0.02),
            "event_type": dice.one(kinds),
            "plan_id": dice.maybe(dice.one(PLANS)),
            "seats": dice.maybe(dice.one([1, 5, 10])),
            "mrr_cents": dice.maybe(dice.one([0, 999, 4900, 9900, 9900, 100000000000]), 0.03),
            "occurred_at": iso(at),
        })  # fmt: skip
        at += timedelta(days=dice.one([0, 0, 3, 30, 31, 75]), microseconds=dice.one([0, 1]))
    return events


def _invoice(dice: Dice, number: int) -> Row:
    issued = dice.moment(365)
    lines = [{"sku": dice.one([*PLANS, None]), "amount": n} for n in range(dice.whole(0, 3))]
    return {
        "invoice_id": number,
        "account_id": f"acc_{dice.whole(0, ACCOUNTS + 3):03d}",
        "subscription_id": dice.maybe(f"sub_{dice.whole(0, SUBSCRIPTIONS):04d}"),
        "amount_due": dice.maybe(dice.decimal(dice.one([100, 5000]))),
        "tax_rate": dice.one(["0.000", "0.190", "0.075", None]),
        "currency": dice.one(["USD", "EUR", None]),
        "issued_at": iso(issued),
        "due_on": dice.maybe((issued + timedelta(days=30)).date().isoformat(), 0.2),
        "lines": dice.one([lines, lines, {}, None]),
    }


def _attempts(dice: Dice, invoice: Row) -> list[Row]:
    if dice.happens(0.1):
        return []
    outcomes = dice.one(OUTCOMES)
    at = datetime.fromisoformat(invoice["issued_at"])
    return [
        {
            "attempt_id": invoice["invoice_id"] * 10 + number,
            "invoice_id": dice.maybe(invoice["invoice_id"], 0.01),
            "outcome": outcome,
            "failure_code": dice.one(["card_declined", "", "ungültig", None]) if outcome == "failed" else None,
            "amount": invoice["amount_due"],
            "attempted_at": iso(dice.maybe(at + timedelta(days=number * 3, hours=dice.whole(0, 23)), 0.02)),
        }
        for number, outcome in enumerate(outcomes)
    ]
