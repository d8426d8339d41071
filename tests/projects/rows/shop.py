"""An online shop: some hundred customers and products that change, orders and what follows from them."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.projects.rows.dice import START, WORDS, Dice, Row, Rows, iso

CUSTOMERS, PRODUCTS, ORDERS = 150, 60, 700
CATEGORIES = ("books", "games", "Küche", "", None, "garden", "toys")
REASONS = ("damaged on arrival", "Broken", "came too late", "wrong SIZE", "does not fit", "", None, *WORDS)


def rows(seed: int) -> Rows:
    """Rows by source."""
    dice = Dice(seed)
    orders = [_order(dice, number) for number in range(1, ORDERS)]
    return {
        "store.customers": _changes(dice, [_customer(dice, n) for n in range(1, CUSTOMERS)], "updated_at"),
        "store.products": _revisions(dice),
        "store.orders": dice.sent_again(orders) + [_corrected(dice, o) for o in orders if dice.happens(0.1)],
        "store.order_items": dice.sent_again([i for o in orders for i in _items(dice, o)], 0.01),
        "store.payments": dice.sent_again([p for o in orders for p in _payments(dice, o)]),
        "store.refunds": [_refund(dice, n) for n in range(200)],
        "store.stock_movements": [_movement(dice, n) for n in range(900)],
    }


def _customer(dice: Dice, number: int) -> Row:
    name = dice.one([f"Ann Lee {number}", f" Zoë  Müller-{number} ", f"王{number}", *WORDS, None])
    return {
        "customer_id": number,
        "email": dice.maybe(f" User.{number}@{dice.one(['Example.COM', 'mail.example', 'bücher.example', ''])} "),
        "full_name": name,
        "country": dice.one(["de", "US", "fr", "", None]),
        "birth_date": dice.one(["1900-01-01", "1980-02-29", "2001-12-31", None]),
        "marketing_opt_in": dice.maybe(dice.happens(0.6)),
        "signed_up_at": iso(dice.maybe(dice.moment(60), 0.03)),
        "updated_at": iso(START),
        "is_deleted": dice.one([False, False, False, None]),
    }


def _changes(dice: Dice, first: list[Row], version: str) -> list[Row]:
    """Later versions of some rows; a few of them delete, and a few deleted ones come back."""
    changes = list(first)
    for row in first:
        for day in range(1, dice.one([1, 1, 2, 4])):
            changes.append({
                **row,
                "country": dice.one(["at", "GB", None]),
                "is_deleted": dice.happens(0.2),
                version: iso(START + timedelta(days=day, microseconds=day)),
            })  # fmt: skip
    return changes


def _revisions(dice: Dice) -> list[Row]:
    revisions: list[Row] = []
    for number in range(1, PRODUCTS):
        for revision in range(dice.one([1, 1, 3])):
            details = {"color": dice.one(["red", "grün", None]), "brand": dice.one(WORDS), "weight_g": _weight(dice)}
            revisions.append({
                "sku": f"SKU-{number:03d}",
                "product_name": dice.maybe(f"{dice.one(WORDS)} {number}"),
                "category": dice.one(CATEGORIES),
                "unit_cost": dice.maybe(dice.decimal(80)),
                "list_price": dice.maybe(dice.decimal(200)),
                "attributes": dice.one([details, details, {}, [], None]),
                "revision": revision,
                "is_retired": dice.happens(0.1),
            })  # fmt: skip
    return revisions


def _weight(dice: Dice) -> object:
    return dice.one([120, "80", " 7 ", "heavy", 3.5, None, True])


def _order(dice: Dice, number: int) -> Row:
    at = dice.moment(200)
    return {
        "order_id": number,
        "customer_id": dice.maybe(dice.whole(1, CUSTOMERS + 10), 0.05),
        "status": dice.one(["placed", "shipped", "completed", "completed", "returned", "cancelled", "", None]),
        "currency": dice.one(["EUR", "eur", "USD", None]),
        "coupon": dice.one([None, None, " spring10", "SPRING10", "summer2024", "Ümlaut5", ""]),
        "shipping_cents": dice.maybe(dice.one([0, 499, 999, -1, 2147483647])),
        "ordered_at": iso(at),
        "sent_at": iso(dice.maybe(at)),
    }


def _corrected(dice: Dice, order: Row) -> Row:
    """The same order again, later, or at the very same time with another status."""
    sent = order["sent_at"] if dice.happens(0.3) else iso(START + timedelta(days=400))
    return {**order, "status": "completed" if order["status"] != "completed" else "returned", "sent_at": sent}


def _items(dice: Dice, order: Row) -> list[Row]:
    return [
        {
            "order_id": order["order_id"],
            "line_number": line,
            "sku": dice.maybe(f"SKU-{dice.one([1, 2, 3, dice.whole(1, PRODUCTS + 4)]):03d}", 0.02),
            "quantity": dice.one([1, 1, 2, 3, 0, -1, 50, None]),
            "unit_price": dice.maybe(dice.decimal(150), 0.03),
            "discount_rate": dice.one([None, "0", "0.0500", "0.3333", "1.0000"]),
        }
        for line in range(1, dice.one([1, 2, 3, 4, 6]))
    ]


def _payments(dice: Dice, order: Row) -> list[Row]:
    paid = []
    for attempt in range(dice.one([0, 1, 1, 1, 3])):
        at = datetime.fromisoformat(order["ordered_at"]) + timedelta(hours=dice.one([0, 1, 71, 72, 73, 500]))
        paid.append({
            "payment_id": f"pay-{order['order_id']}-{attempt}",
            "order_id": dice.maybe(order["order_id"], 0.02),
            "method": dice.one(["Credit Card", "credit_card", "PayPal", "Bank Transfer", "gift card", None, ""]),
            "status": dice.one(["captured", "settled", "settled", "failed", "chargeback", None]),
            "amount_cents": dice.maybe(dice.one([0, 1, 1999, -500, 99999999999999, dice.whole(1, 40000)]), 0.03),
            "paid_at": iso(at),
        })  # fmt: skip
    return paid


def _refund(dice: Dice, number: int) -> Row:
    return {
        "refund_id": f"r{number}",
        "order_id": dice.maybe(dice.whole(1, ORDERS + 20), 0.04),
        "amount": dice.maybe(dice.decimal(300)),
        "reason": dice.one(REASONS),
        "refunded_at": dice.maybe(f"{iso(dice.moment(220, far=0))}{dice.one(['Z', '+02:00', '-11:30'])}"),
    }


def _movement(dice: Dice, number: int) -> Row:
    return {
        "movement_id": number,
        "sku": dice.maybe(f"SKU-{dice.whole(1, PRODUCTS + 3):03d}", 0.02),
        "kind": dice.one(["in", "out", "out", "return", "correction", None]),
        "units": dice.maybe(dice.one([1, 5, 40, 1000000, 0, -3])),
        "moved_at": iso(dice.moment(200)),
    }
