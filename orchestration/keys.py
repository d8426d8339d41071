"""Asset keys and groups: how dbt nodes and the plan's records are named in Dagster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import dagster as dg


def source_key(name: str) -> dg.AssetKey:
    """Of a source as the plan names it.

    >>> source_key("chat.messages").to_user_string()
    'source/chat/messages'
    """
    return dg.AssetKey(["source", *name.split(".", 1)])


def lake_key(name: str) -> dg.AssetKey:
    """Of a source's files in the lake.

    >>> lake_key("chat.messages").to_user_string()
    'lake/chat/messages'
    """
    return dg.AssetKey(["lake", *name.split(".", 1)])


def state_key(name: str) -> dg.AssetKey:
    """Of a state, whatever its version."""
    return dg.AssetKey(["state", name])


def refreshed_key(model: str) -> dg.AssetKey:
    """Of the table of a model that is refreshed, whatever its version."""
    return dg.AssetKey(["refreshed", model])


def published_key(model: str) -> dg.AssetKey:
    """Of the table that takes a published model's rows from batch, whatever its version."""
    return dg.AssetKey(["published", model])


def batch_key(model: str) -> dg.AssetKey:
    """Of a model in the batch warehouse."""
    return dg.AssetKey(["batch", model])


def realtime_key(model: str) -> dg.AssetKey:
    """Of the same model in ClickHouse."""
    return dg.AssetKey(["realtime", model])


def source_name(node: Mapping[str, Any]) -> str:
    """``<source>.<table>`` of a source in dbt's manifest."""
    return f"{node['source_name']}.{node['name']}"


def group_of(node: Mapping[str, Any]) -> str:
    """The domain of a node in dbt's manifest: the first folder below ``models/``, else its source or package.

    >>> group_of({"resource_type": "model", "fqn": ["duet", "chat", "marts", "messages"]})
    'chat'
    >>> group_of({"resource_type": "model", "fqn": ["web-shop", "orders"]})
    'web_shop'
    >>> group_of({"resource_type": "source", "fqn": ["duet", "chat", "staging", "feed", "messages"]})
    'chat'
    >>> group_of({"resource_type": "source", "fqn": ["duet", "feed", "messages"]})
    'feed'
    """
    fqn: list[str] = node["fqn"]
    inner = fqn[1:-1]
    return group_name(inner[0] if inner else fqn[0])


def group_name(text: str) -> str:
    """``text`` with what Dagster doesn't take in a group's name replaced."""
    return re.sub(r"[^A-Za-z0-9_]", "_", text)
