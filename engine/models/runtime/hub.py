"""Where files lie on the Hugging Face Hub. HF_ENDPOINT and HF_HUB_OFFLINE are honoured.

Its client finds the file and tells its hash; the download is our own, because the client's begins anew when it was
broken off, and some of these files have six gigabytes.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from engine.errors import UsageError
from engine.text import printable


@dataclass(frozen=True)
class Located:
    """A file on the Hub. ``sha256`` is empty for small files, of which the Hub knows another hash."""

    url: str
    size: int
    sha256: str


def locate(repo: str, filename: str, revision: str) -> Located:
    """Ask the Hub for a file.

    Raises:
        UsageError: it does not have it, or does not answer; the message says what to do.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    name, otherwise = f"{printable(repo)} on the Hub", "or bring the file yourself (models get --from FILE)."
    if is_offline_mode():
        raise UsageError(f"{name} was not downloaded: HF_HUB_OFFLINE forbids it; unset it, {otherwise}")
    url = hf_hub_url(repo, filename, revision=revision or None)
    try:
        facts = get_hf_file_metadata(url)
    except GatedRepoError as error:
        raise UsageError(f"{name} asks for an account: get the file there, then 'models get --from FILE'.") from error
    except EntryNotFoundError as error:
        raise UsageError(f"{name} has no {filename} any more: update the program, {otherwise}") from error
    except HfHubHTTPError as error:
        code = getattr(error.response, "status_code", "an error")
        raise UsageError(f"{name} could not be asked ({code}): try again later, {otherwise}") from error
    except Exception as error:  # no network: the errors of whichever HTTP library the client uses
        raise UsageError(f"{name} could not be reached. Check the network and try again, {otherwise}") from error
    digest = (facts.etag or "").strip('"')
    return Located(url, facts.size or 0, digest if re.fullmatch("[0-9a-f]{64}", digest) else "")
