"""The decode process, but with some names of songs it does what broken libraries, files and drives do."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from engine.audio import decode_process, headers

poisoned: list[bool] = []


def misbehave(path, decoding=False, talk=None, reading_tags=False):
    if poisoned:
        os.abort()
    match Path(path).stem.lstrip("0123456789"):
        case "abort":
            os.abort()
        case "bus":
            os.kill(os.getpid(), signal.SIGBUS)
        case "hang":
            time.sleep(1000)
        case "hang-tags" if reading_tags:
            time.sleep(1000)
        case "abort-tags" if reading_tags:
            os.abort()
        case "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "failing":
            raise OSError(errno.EIO, "Input/output error")
        case "poison" if decoding:
            poisoned.append(True)
        case "noisy":
            os.system("echo something the library says")
            os.read(0, 100)
        case "hang-later" if decoding:
            send, sent = talk.piece, []

            def piece(payload):
                if len(sent) == 2:
                    time.sleep(1000)
                sent.append(payload)
                send(payload)

            talk.piece = piece


def naughty(work):
    def wrapped(talk, request):
        if "path" in request:
            misbehave(request["path"], request["do"] == "decode", talk, request["do"] == "tags")
        work(talk, request)

    return wrapped


def naughty_headers(path, honest=headers.read_headers):
    misbehave(path)
    return honest(path)


if __name__ == "__main__":
    decode_process._WORK.update({name: naughty(work) for name, work in decode_process._WORK.items()})
    headers.read_headers = naughty_headers
    decode_process.main()
