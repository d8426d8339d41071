"""What the database user may that lambdas are asked as: read the project's models, and nothing else."""

from __future__ import annotations


def grants(database: str) -> str:
    """The statement that gives it, for the user that `users.xml` has or an operator makes.

    >>> grants("shop")
    'GRANT SELECT ON shop.*, SELECT ON shop_raw.*, SELECT ON shop_state.*, SELECT ON shop_staging_*.*'
    """
    # While a deploy swaps versions, read views read the staging schema; only a name without quotes can end in a star.
    scopes = ("", "_raw", "_state", "_staging_*")
    return "GRANT " + ", ".join(f"SELECT ON {database}{scope}.*" for scope in scopes)
