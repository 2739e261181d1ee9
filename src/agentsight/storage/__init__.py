"""Keeps things: `open_storage(url)` finds the engine by the URL's scheme, so there is no table to edit."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from agentsight.errors import ConfigError

if TYPE_CHECKING:
    from agentsight.core.ports import Storage


def open_storage(url: str) -> Storage:
    """The database of this URL, `sqlite:///PATH` or `postgresql://...`; its schema is `migrate`'s business.

    Raises:
        ConfigError: there is no engine for the scheme, or its package is missing.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    scheme = {"postgres": "postgresql"}.get(scheme, scheme)
    try:
        module = importlib.import_module(f"{__name__}.{scheme}")
    except ModuleNotFoundError as missing:
        if missing.name == f"{__name__}.{scheme}":
            raise ConfigError(f"no storage engine for {scheme}://; use sqlite:///PATH") from None
        raise ConfigError(f"{scheme} needs the package {missing.name}: pip install 'agentsight[{scheme}]'") from None
    opened: Storage = module.open(url)
    return opened
