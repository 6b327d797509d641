"""The parent's end of the output process; needs no sound card."""

from __future__ import annotations

import threading
import time

from engine.player import output as output_module
from engine.player.output import Output
from tests.player.soundcard import until


def test_a_process_that_begins_anew_while_it_is_closed_ends_too(tmp_path, monkeypatch):
    children, beginning = [], threading.Event()
    begin = Output._begin

    def slowly(self):
        if children:  # the second one: the first crashed
            beginning.set()
            time.sleep(0.5)
        children.append(begin(self))
        return children[-1]

    monkeypatch.setattr(Output, "_begin", slowly)
    output = Output(tmp_path, lambda: None, lambda: None)
    children[0].kill()
    assert beginning.wait(10)
    output.close()
    time.sleep(1.0)
    try:
        until(lambda: all(child.poll() is not None for child in children))
    finally:
        for child in children:
            child.kill()


def test_a_driver_that_keeps_crashing_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(output_module, "_MOST_RESTARTS", 0)
    output = Output(tmp_path, lambda: None, lambda: None)
    output.child.kill()
    until(lambda: "keeps crashing" in output.problem)
    began = time.monotonic()
    assert not output.ask("rates", "rate", rate=48000) and time.monotonic() - began < 1
    output.close()
