"""All stages by name. A stage's heavy packages are imported when it runs, not here."""

from __future__ import annotations

from engine.stages.apollo import Apollo
from engine.stages.audiosr import AudioSr
from engine.stages.base import Stage
from engine.stages.bass import Bass
from engine.stages.collect import Collect
from engine.stages.compress import Compress
from engine.stages.decode import Decode
from engine.stages.deess import Deess
from engine.stages.denoise import Denoise
from engine.stages.eq import Eq
from engine.stages.hifigan_bwe import HifiganBwe
from engine.stages.lowpass import Lowpass
from engine.stages.master import Master
from engine.stages.pitch import Pitch
from engine.stages.plugin import Plugin
from engine.stages.remix import Remix
from engine.stages.restore import Restore
from engine.stages.separate import Separate
from engine.stages.share import Share
from engine.stages.tighten import Tighten
from engine.stages.transients import Transients
from engine.stages.width import Width

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Decode(),
        Lowpass(),
        Denoise(),
        Restore(),
        Transients(),
        Bass(),
        Tighten(),
        HifiganBwe(),
        AudioSr(),
        Apollo(),
        Separate(),
        Collect(),
        Share(),
        Deess(),
        Pitch(),
        Remix(),
        Eq(),
        Width(),
        Compress(),
        Master(),
        Plugin(),
    )
}
