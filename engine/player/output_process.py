"""The process that holds the audio callback: ``python -m engine.player.output_process STATUS_FILE``.

Nothing but sounddevice and numpy is loaded here, so that neither a model nor the dashboard can starve the
callback. Commands come as JSON lines on standard input, answers go as JSON lines to standard output; where the
playhead is stands in STATUS_FILE, which both sides map (see :data:`FIELDS`). When the device goes away, the
process says so once and looks for one again every two seconds. It ends with its standard input.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.player.renderer import CHANNELS, Renderer

#: float64 values in the status file: frame, 1 while playing, underruns, callbacks, monotonic time of the latest
#: callback, seconds until its block is heard, frame at which the latest mix began, number of the latest seek done.
FIELDS = ("position", "playing", "underruns", "callbacks", "time", "latency", "switched_at", "sought")
#: Seconds asked of the device. Windows and macOS wake audio in time; Linux gives it no priority by itself, and on a
#: busy machine it was measured to run dry now and then at 0.05.
_LATENCY = 0.1 if sys.platform.startswith("linux") else 0.05
_MOST_LATENCY = 0.25
_PATIENCE = 3  # underruns after which the device is opened anew with more latency
_RETRY = 2.0
_STALLED = 1.5  # seconds without a callback after which the device is taken for lost
_READ_AHEAD = 3.0  # seconds


class OutputProcess:
    """Owns the stream, its renderer, and the conversation with the parent."""

    def __init__(self, status_file: str) -> None:
        self.status: npt.NDArray[np.float64] = np.memmap(status_file, np.float64, "r+", shape=(len(FIELDS),))
        self.renderer: Renderer | None = None
        self.stream: Any = None
        self.device: str | None = None
        self.files: dict[int, str] = {}
        self.wanted: dict[str, Any] | None = None  # the rate and device of the latest "open"
        self.requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.told = ""
        self.latency = _LATENCY
        self.underruns_before = 0.0

    # --- conversation ------------------------------------------------------------------------------------

    def tell(self, event: str, **facts: Any) -> None:
        """Send a line to the parent, unless it says the same as the last."""
        line = json.dumps({"event": event, **facts})
        if event in ("lost", "unavailable") and line == self.told:
            return
        self.told = line
        with suppress(BrokenPipeError, ValueError):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def listen(self) -> None:
        """Read commands until the parent closes the pipe. What concerns the renderer is passed on at once."""
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "open":  # what follows is already meant for the new one
                self.renderer = Renderer(int(command["rate"]))
                self.files = {}
            if not self._pass_on(command):
                self.requests.put(command)
        self.requests.put(None)

    def _pass_on(self, command: dict[str, Any]) -> bool:
        renderer = self.renderer
        if renderer is None:
            return False
        match command["do"]:
            case "mix":
                gains = {int(slot): (float(left), float(right)) for slot, (left, right) in command["gains"].items()}
                renderer.mix(gains, command.get("at"))
            case "play" if self.stream is not None:
                renderer.play()
            case "pause":
                renderer.pause()
            case "seek":
                renderer.seek(int(command["frame"]), int(command["number"]))
            case "loop":
                renderer.loop(int(command["start"]), int(command["stop"]))
            case "load":
                self.files[int(command["slot"])] = command["path"]
                renderer.load(int(command["slot"]), _map(command["path"], int(command["frames"])))
            case "unload":
                self.files = {}
                renderer.unload_all()
            case _:
                return False
        return True

    def serve(self) -> None:
        """Open and watch the stream until the parent is gone. The only thread that talks to PortAudio."""
        while True:
            try:
                command = self.requests.get(timeout=_RETRY / 4)
            except queue.Empty:
                self.watch()
                continue
            if command is None:
                self.close()
                return
            if command["do"] == "open":
                self.wanted = command
                self.close()
                self.open(fresh=bool(command.get("fresh")))
            elif command["do"] == "play" and self.renderer is not None and self.stream is not None:
                self.renderer.play()  # it was pressed before the device was open
            elif command["do"] == "rates":
                self.tell("rate", rate=self.best_rate(int(command["rate"]), command.get("device")))
            elif command["do"] == "devices":
                self.tell("devices", devices=self.devices())

    # --- the device --------------------------------------------------------------------------------------

    def sound(self, *, fresh: bool = False) -> Any:
        """The sounddevice module; ``fresh`` makes PortAudio look for devices anew."""
        import sounddevice

        if fresh:
            with suppress(sounddevice.PortAudioError):
                sounddevice._terminate()
            sounddevice._initialize()
        return sounddevice

    def devices(self) -> list[str]:
        """Names of all that sound can be sent to."""
        try:
            sound = self.sound(fresh=self.stream is None)
            return list(dict.fromkeys(d["name"] for d in sound.query_devices() if d["max_output_channels"] > 0))
        except Exception:
            return []

    def best_rate(self, rate: int, device: str | None) -> int:
        """``rate`` where the device takes it, else the device's own (0: there is no device)."""
        try:
            sound = self.sound(fresh=self.stream is None)
            try:
                sound.check_output_settings(device, CHANNELS, "float32", samplerate=rate)
                return rate
            except Exception:
                return int(sound.query_devices(device, "output")["default_samplerate"])
        except Exception:
            return 0

    def open(self, *, fresh: bool = False) -> None:
        """Start the stream; where that cannot be done, say why."""
        if self.wanted is None or self.renderer is None:
            return
        try:
            sound = self.sound(fresh=fresh)
        except Exception as error:
            self.tell("unavailable", reason=f"PortAudio is missing ({error})")
            return
        try:
            self.stream = sound.OutputStream(
                samplerate=self.renderer.rate, device=self.wanted.get("device"), channels=CHANNELS,
                dtype="float32", latency=float(self.wanted.get("latency") or self.latency), callback=self.callback,
            )  # fmt: skip
            self.stream.start()
            name = sound.query_devices(self.stream.device)["name"]
        except Exception as error:
            self.close()
            self.tell("lost", reason="no sound device was found" if not self.devices() else str(error))
            return
        self.status[4] = time.monotonic()
        self.underruns_before = float(self.status[2])
        self.tell("opened", device=name, rate=self.renderer.rate, latency=self.stream.latency)

    def close(self) -> None:
        """Let go of the device."""
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(Exception):
                stream.abort(ignore_errors=True)
                stream.close(ignore_errors=True)

    def watch(self) -> None:
        """Notice that the device is gone, and find one again."""
        if self.stream is None:
            if self.renderer is not None:  # nobody calls back: still obey what moves the playhead
                self.renderer.render(np.zeros((1, CHANNELS), np.float32))
                self.status[0] = self.renderer.position
                self.status[7] = self.renderer.sought
            if self.wanted is not None and time.monotonic() - self.status[4] > _RETRY:
                self.status[4] = time.monotonic()
                self.open(fresh=True)
            return
        if not self.stream.active or time.monotonic() - self.status[4] > _STALLED:
            self.close()
            self.status[4] = time.monotonic()
            if self.renderer is not None:
                self.renderer.pause()
                self.renderer.render(np.zeros((self.renderer.rate // 10, CHANNELS), np.float32))
                self.status[1] = 0
            self.tell("lost", reason="the sound device is gone")
        elif self.status[2] - self.underruns_before >= _PATIENCE and self.latency < _MOST_LATENCY:
            self.latency *= 1.6  # this machine needs more time: better once a gap than again and again
            self.close()
            self.open()

    def callback(self, out: npt.NDArray[np.float32], frames: int, timing: Any, flags: Any) -> None:
        """What PortAudio calls for each block."""
        renderer = self.renderer
        status = self.status
        if renderer is None:
            out[:] = 0
            return
        renderer.render(out)
        if flags.output_underflow and renderer.playing:
            status[2] += 1
        status[0] = renderer.position
        status[7] = renderer.sought
        status[1] = renderer.playing
        status[5] = max(0.0, timing.outputBufferDacTime - timing.currentTime)
        status[6] = renderer.switched_at
        status[4] = time.monotonic()
        status[3] += 1

    # --- keeping samples in memory -----------------------------------------------------------------------

    def read_ahead(self) -> None:
        """Read what will be played soon into the page cache; plain reads do not hold up the callback."""
        reached: dict[str, tuple[int, int]] = {}
        while True:
            time.sleep(0.25)
            renderer = self.renderer
            if renderer is None:
                continue
            here = renderer.position
            ahead = here + round(_READ_AHEAD * renderer.rate)
            for path in list(self.files.values()):
                start, stop = reached.get(path, (0, 0))
                begin = stop if start <= here <= stop else here
                reached[path] = (start if begin == stop else here, ahead)
                with suppress(OSError), open(path, "rb", buffering=0) as file:  # noqa: PTH123
                    file.seek(begin * CHANNELS * 4)
                    file.read(max(0, ahead - begin) * CHANNELS * 4)


def _map(path: str, frames: int) -> npt.NDArray[np.float32]:
    mapped = np.memmap(path, np.float32, "r", shape=(frames, CHANNELS))
    return mapped.view(np.ndarray)  # slices of plain arrays cost a fraction of those of memmap


def main(arguments: list[str]) -> int:
    """Serve until standard input ends."""
    with suppress(OSError, AttributeError):
        os.nice(-10)  # allowed to few; no harm where it is not
    sys.setswitchinterval(0.0005)
    process = OutputProcess(arguments[0])
    threading.Thread(target=process.listen, daemon=True).start()
    threading.Thread(target=process.read_ahead, daemon=True).start()
    gc.collect()
    gc.freeze()
    gc.disable()
    process.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
