"""Brotli at its best, in several processes. The extra `web` brings the module it needs."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.util import find_spec

__all__ = ["available", "brotlied", "unbrotlied"]

_QUALITY, _WINDOW = 11, 24  # the best, and the largest window that browsers accept: 16 MB
_WORTH_A_PROCESS = 200_000  # bytes; below, starting one takes longer

Heard = Callable[[str], None]


def available() -> bool:
    return find_spec("brotli") is not None


def brotlied(files: Mapping[str, bytes], heard: Heard = lambda url: None) -> dict[str, bytes]:
    """Each file compressed; `heard` is called with the URL of each that is done."""
    done: dict[str, bytes] = {}
    order = sorted(files, key=lambda url: -len(files[url]))  # a large one at the end would run alone
    if sum(map(len, files.values())) < _WORTH_A_PROCESS:
        for url in order:
            done[url] = _compress(files[url])
            heard(url)
        return done
    before = set(multiprocessing.active_children())
    workers = min(os.cpu_count() or 1, len(order))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ignore_interrupts)
    try:
        futures = {pool.submit(_compress, files[url]): url for url in order}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
            heard(futures[future])
    except BaseException:
        # A file takes half a minute, and nobody waits for it any more.
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return done


def unbrotlied(data: bytes) -> bytes | None:
    """What was compressed, or None if it can't be told."""
    import brotli

    try:
        return bytes(brotli.decompress(data))
    except brotli.error:
        return None


def _compress(data: bytes) -> bytes:
    import brotli

    return bytes(brotli.compress(data, quality=_QUALITY, lgwin=_WINDOW))


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
