"""Downloads from the Hugging Face Hub, into its own cache. HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are honoured."""

from __future__ import annotations

import io
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.files import file_hash
from engine.text import printable

_HASH = re.compile("[0-9a-f]{64}")


class _Stopped(Exception):
    """The user does not want to wait any more."""


def download(
    repo: str, filename: str, revision: str, *, size: int,
    progress: Callable[[int, int], None] | None = None, cancelled: threading.Event | None = None,
) -> Path:  # fmt: skip
    """The file in the Hub's cache; downloaded, or gone on with, where it is not there, and checked against its hash.

    ``progress(bytes, of)`` is called now and then; ``cancelled`` ends it, and what has come is kept.

    Raises:
        UsageError: it did not come; the message says what to do.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, is_offline_mode
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    name, wanted = f"{printable(repo)} on the Hub", revision or None
    try:
        path = Path(hf_hub_download(repo, filename, revision=wanted, tqdm_class=_bar(size, progress, cancelled)))
        digest = path.resolve().name
        if not _HASH.fullmatch(digest):  # a system without links: ask what it should be
            digest = (get_hf_file_metadata(hf_hub_url(repo, filename, revision=wanted)).etag or "").strip('"')
        if _HASH.fullmatch(digest) and file_hash(path) != digest:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise UsageError(f"What came from {name} has a wrong hash and was thrown away: try again later.")
        return path
    except UsageError:
        raise
    except _Stopped as error:
        raise UsageError("The download was stopped; the next one goes on from here.") from error
    except GatedRepoError as error:
        raise UsageError(f"{name} asks for an account: accept its terms there, then run 'hf auth login'.") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UsageError(f"{name} is no longer there: bring the file yourself (models get --from FILE).") from error
    except LocalEntryNotFoundError as error:
        if is_offline_mode():
            raise UsageError(f"{name} was not downloaded: HF_HUB_OFFLINE forbids it; unset it, try again.") from error
        raise UsageError(
            f"{name} could not be reached. Check the network and try again, or bring the file yourself "
            "(models get --from FILE)."
        ) from error
    except EntryNotFoundError as error:
        raise UsageError(
            f"{name} has no {filename} any more: bring the file yourself (models get --from FILE)."
        ) from error
    except (HfHubHTTPError, ConnectionError, TimeoutError) as error:
        raise UsageError(f"{name} broke off the download: run the same command again, it goes on from here.") from error
    except OSError:
        raise
    except Exception as error:  # the HTTP library's own errors, whichever it is
        text = printable(str(error)) or type(error).__name__
        raise UsageError(f"The download from {name} broke off ({text}): run the same command again.") from error


def _bar(size: int, progress: Callable[[int, int], None] | None, cancelled: threading.Event | None) -> type[Any]:
    """A progress bar for the Hub's client that shows nothing itself."""
    from tqdm.std import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            if cancelled is not None and cancelled.is_set():
                raise _Stopped
            done = super().update(n)
            if progress is not None:
                progress(int(self.n), int(self.total or size))
            return done

    return Bar
