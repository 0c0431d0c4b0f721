"""Open pages in a real browser: Debian's chromium without a window, driven by playwright.

`conftest.py` imports the fixtures. A module that uses them sets ``pytestmark = pytest.mark.medium``. Where
there is no browser, its tests are skipped with the reason.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser_path() -> str | None:
    """Return the program of a browser: ``DATAPREP_BROWSER``, or one of ``NAMES`` in the PATH."""
    if given := os.environ.get("DATAPREP_BROWSER"):
        return given
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that is started once for a module."""
    # Not once for a session: while playwright's event loop stands still in this thread, `asyncio.run` in any
    # other test would fail.
    path = browser_path()
    if path is None:
        pytest.skip("needs a browser: install chromium, or name one in DATAPREP_BROWSER")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `dev`")
    # Chromium's sandbox refuses to run as root, as in a container. It only gets pages of the tests.
    arguments = ["--disable-dev-shm-usage", "--disable-gpu"]
    arguments += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments, timeout=60_000)
        try:
            yield started
        finally:
            started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file or an address, and return playwright's page: ``open_page(path, width=320, dark=True)``.

    After the test, messages of the console that are errors or warnings, scripts that failed, and requests
    that failed make it fail.
    """
    problems: list[str] = []
    contexts: list[Any] = []

    def open_in_new_window(
        target: str | Path, *, width: int = 1280, height: int = 900, dark: bool = False, **settings: Any
    ) -> Any:
        settings |= {"viewport": {"width": width, "height": height}}
        context = browser.new_context(color_scheme="dark" if dark else "light", **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda line: problems.append(line.text) if line.type in BAD else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"{request.url}: {request.failure}"))
        page.goto(target.resolve().as_uri() if isinstance(target, Path) else target)
        return page

    yield open_in_new_window
    # What a page gives up itself, or when its window is closed, has not failed.
    found = [problem for problem in problems if not problem.endswith("net::ERR_ABORTED")]
    for context in contexts:
        context.close()
    assert found == []


BAD = ("error", "warning")


def overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than its window; 0 if it does not scroll sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def focused(page: Any) -> str:
    """Return the element that has the focus, as ``a Skip to the content``."""
    return str(
        page.evaluate(
            "(element => `${element.tagName.toLowerCase()} ${element.innerText.trim()}`)"
            "(document.activeElement)"
        )
    )
