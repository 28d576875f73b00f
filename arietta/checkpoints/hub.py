"""Folders of ours -> repositories on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from arietta.errors import OutputError, UsageError

Kind = Literal["model", "dataset"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_repo(repo: str) -> str:
    """Return the name of a repository.

    Raises:
        UsageError: it is not OWNER/NAME.
    """
    if not _NAME.fullmatch(repo):
        raise UsageError(f"`repo` {repo!r}: name it OWNER/NAME, as in you/my-piano")
    return repo


def push_files(
    repo: str,
    kind: Kind,
    files: Mapping[str, Path | bytes],
    *,
    private: bool = True,
    message: str,
) -> str:
    """Put files into a repository as one commit; the repository is made where it is missing.

    What else lies in the repository stays. The account is that of ``hf auth login`` or of the
    environment variable ``HF_TOKEN``.

    Args:
        repo: ``owner/name``.
        kind: ``model`` or ``dataset``.
        files: name in the repository -> file, or its content.
        private: of a new repository.
        message: of the commit.

    Returns:
        The repository's address.

    Raises:
        OutputError: the hub cannot be reached, or does not take it.
        UsageError: the repository's name is none.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    check_repo(repo)
    hub = HfApi()
    operations = [
        CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
        for name, content in files.items()
    ]
    try:
        place = hub.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        hub.create_commit(repo, operations, commit_message=message, repo_type=kind)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise OutputError(
                f"{repo}: the hub does not let this account write there; run hf auth login, or set"
                " HF_TOKEN to a token that may write"
            ) from None
        raise OutputError(f"{repo}: the hub refused it (status {status}): {_line(error)}") from None
    except Exception as error:
        # Whatever the network layer raises, the next step is the same.
        reason = f"{type(error).__name__}: {_line(error)}"
        raise OutputError(f"{repo}: the hub cannot be reached ({reason}); try again") from None
    return str(place)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
