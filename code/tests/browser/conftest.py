import os

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from built_site import SITE, chromium, missing
from serving import served

ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    # Whatever is asked of another machine is refused; `visit` counts it.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@pytest.fixture(scope="session", autouse=True)
def needed():
    """Without Chromium or the site: skipped, aloud; failed where CI is set."""
    if words := missing():
        words = f"{words}: NOT FOUND, THE SITE IS NOT CHECKED"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(words)


@pytest.fixture(scope="session")
def browser(needed):
    with sync_playwright() as started:
        yield started.chromium.launch(executable_path=chromium(), args=ARGS)


@pytest.fixture(scope="session")
def server(needed):
    with served(SITE) as address:
        yield address


@pytest.fixture
def visit(browser, server):
    """Opens pages; in the end nothing may have gone wrong or outside."""
    contexts, wrong = [], []

    def visit(address, *, width=1300, mounted=False, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: wrong.append(m.text) if bad(m) else None)
        context.on("request", lambda request: local(request.url))
        page.goto(address if ":" in address else f"{server}/{address}")
        if mounted:  # small explorers, which wait until they are near
            for one in page.locator("div.explorer").all():
                one.scroll_into_view_if_needed()
                one.locator(".map").wait_for(state="attached")
            page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        return page

    def bad(message):
        return message.type in ("error", "warning")

    def local(url):
        if not url.startswith(("file:", "data:", f"{server}/")):
            wrong.append(f"asked for {url}")

    yield visit
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def faults():
    """What axe finds wrong with a page: rules, and what breaks them."""

    def faults(page):
        # Left to itself it fetches what sheets import from beside the page.
        # The last rule, that a control is named as it reads, is off by
        # default.
        named = {"label-content-name-mismatch": {"enabled": True}}
        options = {"preload": False, "rules": named}
        found = Axe().run(page, options=options).response
        assert len(found["passes"]) > 20
        return [
            {rule["id"]: [node["target"] for node in rule["nodes"]]}
            for rule in found["violations"]
        ]

    return faults
