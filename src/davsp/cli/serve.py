"""`davsp serve`: an OpenAI-compatible server behind a defence."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from davsp.cli import completion
from davsp.cli.options import (
    DEFENCE_HELP,
    DEFENCE_OPTION,
    MODEL_HELP,
    Device,
    Dtype,
    MaxPixels,
    MinPixels,
    Precision,
    Revision,
    load_model,
    say,
)
from davsp.errors import InputError
from davsp.serving.settings import ImageFormat, Limits, Mode, OtherImages, ServeSettings, TextOnly

if TYPE_CHECKING:
    from davsp.defences.image_guards import ImageGuard
    from davsp.serving.service import Service

    Make = Callable[[ServeSettings], Service]

MIB = 2**20
_L = Limits()


def serve(
    defence: Annotated[str, typer.Option(*DEFENCE_OPTION, help=DEFENCE_HELP, autocompletion=completion.defences)],
    upstream: Annotated[
        str | None, typer.Option(help="The API that requests go to, such as http://127.0.0.1:8000/v1.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help=f"Instead of --upstream: a model to load and to serve, for trying. {MODEL_HELP}",
            autocompletion=completion.models,
        ),
    ] = None,
    guard: Annotated[
        str | None,
        typer.Option(
            help="An image guard to load: what it finds unsafe is refused. A hub id or folder, and its options, "
            "such as FOLDER,policy=policy.txt."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0: any that is free.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    mode: Annotated[
        Mode,
        typer.Option(
            help="enforce: requests go on behind the defence, or not at all. observe: they go on as they came, and a "
            "sample again behind the defence, to be compared."
        ),
    ] = Mode.ENFORCE,
    sample: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the requests that --mode observe compares.")
    ] = 0.1,
    text_only: Annotated[
        TextOnly, typer.Option(help="Requests without an image: untouched, or with the defence's text.")
    ] = TextOnly.UNTOUCHED,
    other_images: Annotated[
        OtherImages,
        typer.Option(help="Images of tools, system and assistant: behind the defence, as they are, or not at all."),
    ] = OtherImages.HARDEN,
    allow_url: Annotated[
        list[str] | None,
        typer.Option(
            help="A host from which images named by URL are fetched: HOST or HOST:PORT, at public addresses alone; "
            "HOST=ADDRESS for one at a private address. Repeatable; without it, images are taken as data URIs only."
        ),
    ] = None,
    format: Annotated[
        ImageFormat, typer.Option(help="How images are sent; JPEG changes the border's pixels a little.")
    ] = ImageFormat.PNG,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG.")] = 95,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    max_body: Annotated[
        int, typer.Option(min=1, help="MiB of a request, and of all images together that it names by URL.")
    ] = _L.body_bytes // MIB,
    max_images: Annotated[int, typer.Option(min=1, help="Images in a request.")] = _L.images,
    max_megapixels: Annotated[float, typer.Option(min=0.01, max=80, help="Of one image.")] = _L.image_pixels / 1e6,
    max_requests: Annotated[
        int, typer.Option(min=1, help="In work at a time, in a worker; more get 429.")
    ] = _L.requests,
    max_hardening: Annotated[
        int, typer.Option(min=1, help="Of those, with images being put behind the defence; more get 429.")
    ] = _L.hardening,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Images at a time, in a worker; default: cores / workers.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two pieces of an answer.")
    ] = _L.upstream_seconds,
    body_timeout: Annotated[
        float,
        typer.Option(
            min=0.1, help="Seconds until a request has arrived, and until a client takes a piece of its answer."
        ),
    ] = _L.body_seconds,
    url_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds until a request's URLs are fetched.")
    ] = _L.url_seconds,
    drain: Annotated[int, typer.Option(min=0, help="Seconds that requests in work have at the end.")] = 30,
    cache: Annotated[int, typer.Option(min=0, help="MiB of hardened images that a worker keeps.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests at a time that --model answers.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of --model, where a request names none.")] = 256,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
    log_content: Annotated[
        bool, typer.Option("--log-content", help="Log users' texts, and the answers compared.")
    ] = False,
) -> None:
    """Stand before an OpenAI-compatible server: images and questions go to it behind a defence, or not at all.

    Clients change their base URL to http://HOST:PORT/v1 and nothing else.
    """
    missing = [
        name for name in ("starlette", "uvicorn", "httpx", "prometheus_client") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise InputError(f"serving needs {', '.join(missing)}: pip install 'davsp[serve]'.")
    if (upstream is None) == (model is None):
        raise InputError("give either --upstream, a server to stand before, or --model, one to load and serve.")
    settings = ServeSettings(
        upstream=upstream or "",
        defence=defence,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        image_format=format,
        quality=quality,
        text_only=text_only,
        other_images=other_images,
        allow_urls=tuple(allow_url or ()),
        mode=mode,
        sample=sample,
        limits=Limits(
            body_bytes=max_body * MIB,
            images=max_images,
            image_pixels=int(max_megapixels * 1e6),
            requests=max_requests,
            hardening=max_hardening,
            body_seconds=body_timeout,
            url_seconds=url_timeout,
            upstream_seconds=timeout,
        ),
        cache_bytes=cache * MIB,
        threads=threads or max(1, len(os.sched_getaffinity(0)) // workers),
        log_content=log_content,
    )
    if model is not None:
        if guard is not None:
            raise InputError(
                "--guard goes with --upstream: with --model, use --defence guard:model=NAME,inner=DEFENCE."
            )
        service = _local(settings, model, revision, device, dtype, batch_size, max_new_tokens, workers)
    else:
        service = _proxy(settings, guard, workers)
    _run(service, settings, host, port, workers, drain, upstream or f"{model}")


def _proxy(settings: ServeSettings, guard: str | None, workers: int) -> Make:
    """The proxy; what is wrong is said before anything is served."""
    from davsp.serving.fetching import AllowedHost
    from davsp.serving.hardening import load_served
    from davsp.serving.proxy import Proxy
    from davsp.serving.upstream import check_address

    check_address(settings.upstream)
    for host in settings.allow_urls:
        AllowedHost.parse(host)
    defence = load_served(settings)
    if defence.model_specific:
        say(
            f"{settings.upstream} cannot be compared with the model that {defence.name} was made for: see to it that "
            "it is the same, and leaves images as they are within the same limits (or say which: --min-pixels, "
            "--max-pixels)."
        )
    if settings.mode is Mode.OBSERVE:
        say(f"Clients get undefended answers; {settings.sample:.0%} are compared with those behind {defence.name}.")
    return Proxy if guard is None else partial(Proxy, guard=_guard(settings, guard, workers))


def _guard(settings: ServeSettings, name: str, workers: int) -> ImageGuard:
    """The guard before the defence. Raises InputError where it could not look at all images."""
    from davsp.defences import load_defence
    from davsp.defences.guard import Guard

    if workers > 1:
        raise InputError("--guard loads a model into the process: use one worker, and more proxies if need be.")
    if settings.other_images is OtherImages.PASS:
        raise InputError("--guard looks at images that are put behind the defence: leave out --other-images pass.")
    loaded = load_defence(f"{Guard.kind}:model={name}")
    assert isinstance(loaded, Guard)
    if loaded.inner:
        raise InputError(
            "--guard refuses what is unsafe: leave out inner, and give what stands behind it as --defence."
        )
    say(f"Images that {loaded.guard.name} finds unsafe are refused.")
    return loaded.guard


def _local(
    settings: ServeSettings,
    name: str,
    revision: str | None,
    device: str,
    dtype: Precision,
    batch_size: int,
    max_new_tokens: int,
    workers: int,
) -> Make:
    """A loaded model. Raises InputError for what goes with a proxy alone."""
    from davsp.defences import load_defence
    from davsp.serving.local import LocalService

    plain = ServeSettings(settings.upstream, settings.defence, limits=settings.limits, threads=settings.threads)
    if workers > 1 or replace(settings, limits=plain.limits, threads=plain.threads) != plain:
        raise InputError(
            "a loaded model is served by one process and has its own limits of pixels: of the options, --host, --port, "
            "--max-body, --max-images, --max-megapixels, --max-requests, --body-timeout and --drain go with --model."
        )
    defence = load_defence(settings.defence)
    model = load_model(name, revision, device, dtype)
    defence.check(model)
    say("Requests are answered in batches: for trying, and for small loads.")
    return partial(LocalService, model, defence.on_canvas(model.canvas), batch_size, max_new_tokens)


def _run(service: Make, settings: ServeSettings, host: str, port: int, workers: int, drain: int, what: str) -> None:
    from davsp.serving.running import listen, run

    at = listen(host, port)
    address = f"[{host}]" if ":" in host else host
    say(f"Serving {what} at http://{address}:{at.getsockname()[1]}/v1, behind {settings.defence}. Ctrl-C ends it.")
    run(service, settings, at, workers, drain)
