"""Our AudioSR beside the package, same random checkpoint and same noise: how equal, and how fast.

``python -m benchmarks.audiosr`` (tiny) or ``python -m benchmarks.audiosr full``; needs the package (see
``benchmarks/audiosr_reference.py``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.audiosr_reference import model, package

SAMPLES = 245_760
STEPS = 5


def compare(*, tiny: bool, samples: int = SAMPLES, steps: int = STEPS) -> dict[str, tuple[float, float, float]]:
    """For each part (relative difference, the package's seconds, our seconds)."""
    import torch

    from engine.models.audiosr import mel as mels
    from engine.models.audiosr import sampler
    from engine.models.audiosr.network import AudioSR, Frugal, Sampling, parts_of

    torch.manual_seed(1)
    audio = 0.5 * torch.sin(torch.arange(samples) * torch.linspace(0.01, 0.6, samples))[None]
    audio = audio + 0.01 * torch.randn(audio.shape)
    results = {}

    def check(name: str, theirs: Callable[[], Any], ours: Callable[[], Any]) -> tuple[Any, Any]:
        outputs, seconds = [], []
        for work in (theirs, ours):
            torch.manual_seed(2)
            started = time.perf_counter()
            with torch.inference_mode():
                outputs.append(work())
            seconds.append(time.perf_counter() - started)
        reference, made = outputs
        difference = float((made - reference).norm() / reference.norm())
        results[name] = (difference, seconds[0], seconds[1])
        return reference, made

    with package() as modules:
        known = model(modules, tiny=tiny)
        own = AudioSR(*parts_of(known.state_dict())).eval()
        frames = samples // mels.HOP
        heard, _ = check(
            "mel",
            lambda: modules.utils.wav_feature_extraction(audio, frames)[0][None, None],
            lambda: mels.log_mel(audio),
        )
        condition_of = known.cond_stage_models[0]
        shape = (1, *own.latent_shape(samples))
        condition, _ = check(
            "VAE encoder", lambda: condition_of(heard[:, 0]), lambda: own.encoder(heard, torch.randn(shape))
        )
        times = torch.tensor([321])
        pair = torch.cat([torch.randn(shape), condition], dim=1)
        check(
            "UNet",
            lambda: known.model.diffusion_model(pair, times, context_list=[], context_attn_mask_list=[]),
            lambda: own.unet(pair, times),
        )

        def their_latent() -> Any:
            cond = {"concat_lowpass_cond": condition}
            nothing = {"concat_lowpass_cond": condition_of.get_unconditional_condition(1)}
            known.latent_t_size = shape[2]
            return known.sample_log(
                cond=cond, batch_size=1, ddim=True, ddim_steps=steps, eta=1.0,
                unconditional_guidance_scale=3.5, unconditional_conditioning=nothing,
            )[0]  # fmt: skip

        def our_latent() -> Any:
            noise: sampler.Noise = lambda _: torch.randn(shape)  # noqa: E731
            return own._sample(condition * own.scale, noise, Sampling(steps), Frugal(), lambda _: None)

        latent, own_latent = check(f"DDIM, {steps} steps", their_latent, our_latent)
        check("DDIM mel", lambda: known.decode_first_stage(latent), lambda: own.decoder(own_latent / own.scale))
        vocoded, _ = check(
            "VAE decoder", lambda: known.decode_first_stage(latent), lambda: own.decoder(latent / own.scale)
        )
        vocoder = known.first_stage_model.vocoder
        check(
            "vocoder",
            lambda: vocoder(vocoded[:, 0].transpose(1, 2))[:, 0, :samples],
            lambda: own.vocode(vocoded, Frugal(), samples),
        )
        check(
            "vocoder in tiles",
            lambda: vocoder(vocoded[:, 0].transpose(1, 2))[:, 0, :samples],
            lambda: own.vocode(vocoded, Frugal(tiles=True), samples),
        )
    return results


def main() -> None:
    """Print the comparison."""
    tiny = "full" not in sys.argv[1:]
    print(f"{'part':<20}{'difference':>12}{'package s':>12}{'ours s':>10}{'ratio':>8}")
    for name, (difference, theirs, ours) in compare(tiny=tiny).items():
        print(f"{name:<20}{difference:>12.2e}{theirs:>12.3f}{ours:>10.3f}{theirs / ours:>8.2f}")


if __name__ == "__main__":
    main()
