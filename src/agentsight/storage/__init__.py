"""Keeps things: `open_storage(url)` finds the engine by the URL's scheme, `open_blobs` where files lie."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from agentsight.errors import ConfigError

if TYPE_CHECKING:
    from agentsight.core.ports import Blobs, Storage


def open_storage(url: str, read_url: str | None = None) -> Storage:
    """The database of this URL, `sqlite:///PATH` or `postgresql://...`; its schema is `migrate`'s business.

    `read_url` is a read replica of it, for what may lag behind.

    Raises:
        ConfigError: there is no engine for the scheme, or its package is missing.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    scheme = {"postgres": "postgresql"}.get(scheme, scheme)
    try:
        module = importlib.import_module(f"{__name__}.{scheme}") if scheme.isidentifier() else None
    except ModuleNotFoundError as missing:
        if missing.name != f"{__name__}.{scheme}":
            raise ConfigError(
                f"{scheme} needs the package {missing.name}: pip install 'agentsight[{scheme}]'"
            ) from None
        module = None
    if not hasattr(module, "open"):  # other modules stand here, too
        raise ConfigError(f"no storage engine for {scheme[:40]}://; use sqlite:///PATH or postgresql://...")
    opened: Storage = module.open(url, read_url)  # type: ignore[union-attr]
    return opened


def open_blobs(where: str) -> Blobs:
    """Where files are kept: a folder, or `s3://BUCKET/PREFIX`.

    Raises:
        ConfigError: it is another kind of URL, or the package for it is missing.
    """
    scheme, found, _ = where.partition("://")
    if not found:
        from .blobs import FileBlobs

        return FileBlobs(Path(where))
    if scheme != "s3":
        raise ConfigError(f"AGENTSIGHT_FILES: files are kept in a folder or in s3://BUCKET/PREFIX, not {scheme}://")
    try:
        from .s3 import S3Blobs
    except ModuleNotFoundError as missing:
        raise ConfigError(f"s3:// needs the package {missing.name}: pip install 'agentsight[s3]'") from None
    return S3Blobs(where)
