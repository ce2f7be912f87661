"""The peer's side of ``bench.Peer``: answers each line of JSON with a line of JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable


def serve(answer: Callable[..., dict]) -> None:
    """Answer questions until there are no more.

    Args:
        answer: Called with the entries of a question as keywords.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print must not stand among the replies
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=replies, flush=True)
