"""The explorer plays, steps, and shows branches and sequences."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from atrous.arithmetic import Window, usage
from built_site import SITE

PAGE = SITE / "book" / "explorer.html"
ONE = "#layers=k3r2p2&size=5"
ASPP = "#layers=k1|k3r6p6|k3r12p12|k3r18p18&size=33&show=branches"
PAST = "#layers=k2c1-k2r2c2-k2r4c4-k2r8c8&axes=1&size=32"


@pytest.fixture
def play(visit):
    """Opens the explorer with a clock that stands until it is moved."""

    def explorer(address=ONE, *, url=None, **options):
        page = visit(f"{url or PAGE.as_uri()}{address}", **options)
        page.clock.install(time=0)
        page.clock.pause_at(60_000)
        return page

    return explorer


def said(page, name):
    return page.locator(f'[data-out="{name}"]').inner_text()


def fact(page, name):
    row = page.locator(f'.facts > div:has(dt:text-is("{name}"))')
    return row.locator("dd").inner_text()


def at(page):
    return [int(said(page, "row")), int(said(page, "column"))]


def filled(page):
    """Cells of the output that are filled."""
    made = page.locator('[data-out="output"] .made')
    if not made.count():
        return 0
    boxes = re.findall(r"h(\d+)v(\d+)", made.get_attribute("d"))
    return sum(int(wide) * int(high) for wide, high in boxes)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def test_it_never_starts_by_itself(play):
    page = play()
    page.clock.run_for(20_000)
    assert at(page) == [2, 2]
    assert filled(page) == 0


def test_it_plays_output_by_output_and_stops_at_the_last(play):
    page = play()
    press(page, "Play")
    page.clock.run_for(1)
    for done in (1, 2, 7, 25):
        page.clock.run_for(125 * (done - max(1, filled(page))))
        assert filled(page) == done
        assert at(page) == [*divmod(done - 1, 5)]
        button = "Pause" if done < 25 else "Play"
        assert page.locator('[data-do="play"]').inner_text() == button
    page.clock.run_for(5000)
    assert at(page) == [4, 4]
    press(page, "Play")  # begins again
    page.clock.run_for(10)
    assert (at(page), filled(page)) == ([0, 0], 1)


def test_what_plays_is_told_once_when_it_rests(play):
    """Neither a screen reader nor the address hears of each output."""
    page = play()
    page.evaluate(
        """window.told = [];
        new MutationObserver(() => told.push(1)).observe(
            document.querySelector('[role=status]'),
            {childList: true, characterData: true, subtree: true})"""
    )
    page.clock.run_for(2000)
    entries, url = page.evaluate("history.length"), page.url
    press(page, "Play")
    page.clock.run_for(300)
    label = page.locator(".map").get_attribute("aria-label")
    assert label == "Input map, 5 by 5. It plays, output by output."
    page.clock.run_for(1500)
    assert page.locator(".map").get_attribute("aria-label") == label
    assert page.evaluate("told.length") == 0
    assert page.url == url
    row, column = at(page)
    press(page, "Pause")
    page.clock.run_for(2000)
    told = page.get_by_role("status").inner_text()
    words = f"Chosen output: row {row}, column {column} reads"
    assert told.startswith(words)
    assert page.evaluate("told.length") == 1
    page.wait_for_url(f"**&at={row}.{column}*")
    assert page.evaluate("history.length") == entries + 1
    assert at(page) == [row, column]  # it has paused


@pytest.mark.parametrize("pace", [2, 8, 30])
def test_its_speed_is_chosen(play, pace):
    page = play("#layers=k3p1&size=20")
    page.get_by_label("Speed").select_option(f"{pace} outputs a second")
    press(page, "Play")
    page.clock.run_for(10)
    page.clock.run_for(2000)
    assert abs(filled(page) - 1 - 2 * pace) <= 1


def test_it_steps_from_the_chosen_output(play):
    page = play()
    press(page, "Step")
    assert (at(page), filled(page)) == ([0, 0], 1)  # none was chosen
    page.locator(".map").press("End")
    page.locator(".map").press("ArrowLeft")
    assert filled(page) == 0
    press(page, "Step")
    assert (at(page), filled(page)) == ([4, 4], 2)
    page.clock.run_for(2000)
    page.wait_for_url("**&at=4.4*")
    assert "row 4, column 4" in page.get_by_role("status").inner_text()
    press(page, "Step")
    assert (at(page), filled(page)) == ([0, 0], 1)
    page.clock.run_for(2000)
    assert at(page) == [0, 0]


def test_keys_play_pause_and_take_over(play):
    page = play()
    picture = page.locator(".map")
    picture.focus()
    top = page.evaluate("scrollY")
    page.keyboard.press("Space")
    page.clock.run_for(600)
    assert filled(page) > 3
    page.keyboard.press("Space")
    before = at(page)
    page.clock.run_for(600)
    assert at(page) == before
    page.keyboard.press("Space")
    page.clock.run_for(130)
    assert filled(page) > 4  # it went on
    page.keyboard.press("ArrowDown")
    after = at(page)
    page.clock.run_for(600)
    assert (at(page), filled(page)) == (after, 0)
    assert page.locator('[data-do="play"]').inner_text() == "Play"
    assert page.evaluate("scrollY") == top


def test_a_change_of_the_stack_pauses_and_one_of_colours_does_not(play):
    page = play()
    press(page, "Play")
    page.clock.run_for(400)
    page.get_by_label("Colour by").select_option("phases")
    page.clock.run_for(400)
    tiles = page.locator('[data-out="output"] pattern path')
    colours = {path.get_attribute("class") for path in tiles.all()}
    assert len(colours) == 4  # rate 2: each output in its phase's colour
    assert page.locator('[data-do="play"]').inner_text() == "Pause"
    page.get_by_role("group", name="Layer 1").get_by_label("Rate").fill("1")
    assert page.locator('[data-do="play"]').inner_text() == "Play"
    before = at(page)
    page.clock.run_for(2000)
    assert at(page) == before


def test_going_back_pauses(play):
    page = play()
    page.get_by_label("Channels").fill("5")
    page.clock.run_for(1000)
    page.wait_for_url("**channels=5*")
    press(page, "Play")
    page.clock.run_for(400)
    page.evaluate("location.hash = 'layers=k3p1&size=7'")
    page.wait_for_function(
        "document.querySelector('[data-key=size]').value === '7'"
    )
    page.clock.run_for(2000)
    assert at(page) == [3, 3]
    assert page.url.endswith("#layers=k3p1&size=7")


def test_out_of_sight_it_pauses(play):
    page = play("#layers=k3p1&size=33")
    press(page, "Play")
    page.clock.run_for(300)
    assert page.locator('[data-do="play"]').inner_text() == "Pause"
    page.evaluate("scrollTo({top: 9e9, behavior: 'instant'})")
    page.wait_for_function(
        "document.querySelector('[data-do=play]').textContent === 'Play'"
    )


def test_who_wants_no_motion_steps(play):
    page = play(reduced_motion="reduce")
    assert not page.locator('[data-do="play"]').is_visible()
    assert not page.get_by_label("Speed").is_visible()
    assert "less motion" in said(page, "motion")
    page.locator(".map").press("Space")
    assert (at(page), filled(page)) == ([0, 0], 1)
    press(page, "Step")
    assert (at(page), filled(page)) == ([0, 1], 2)
    page.clock.run_for(10_000)
    assert at(page) == [0, 1]


def test_who_wants_no_motion_any_more_is_obeyed_at_once(play):
    page = play()
    url = page.url
    page.emulate_media(reduced_motion="reduce")
    page.locator('[data-do="play"]').wait_for(state="hidden")
    page.clock.run_for(1000)
    assert page.url == url
    page.emulate_media(reduced_motion="no-preference")
    press(page, "Play")
    page.clock.run_for(400)
    page.emulate_media(reduced_motion="reduce")
    page.locator('[data-do="play"]').wait_for(state="hidden")
    before = at(page)
    page.clock.run_for(2000)
    assert at(page) == before


def test_small_ones_play_and_keep_the_address(play):
    url = (SITE / "chapters" / "operator.html").as_uri()
    page = play("", url=url, mounted=True)
    address, one = page.url, page.locator("div.explorer").first
    one.get_by_role("button", name="Play").click()
    page.clock.run_for(800)
    assert int(said(one, "column")) > 2
    one.get_by_role("button", name="Pause").click()
    page.clock.run_for(2000)
    assert page.url == address
    assert not one.get_by_role("button", name="Add a branch").is_visible()


def test_pages_of_small_ones_load_no_presets():
    for page in SITE.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert ("presets.js" in text) == ("data-address" in text), page


def test_branches_are_in_one_picture(play):
    page = play(ASPP)
    signs = page.locator(".map .sign")
    kinds = [sign.get_attribute("class") for sign in signs.all()]
    # The two smaller rates have all their taps on the map in the middle.
    assert kinds.count("sign branch-1") == kinds.count("sign branch-2") == 8
    assert "17 pixels of the map, the most used by 4 paths" in fact(
        page, "Chosen output"
    )
    assert fact(page, "Receptive field").startswith(
        "37 × 37 input pixels, all"
    )
    keys = page.locator(".key li").all_inner_texts()
    assert "3: 3×3, rate 12" in keys
    section = page.locator('[data-out="section"]')
    lines = section.locator(".line")
    shapes = {line.get_attribute("class") for line in lines.all()}
    assert len(shapes) == 4
    page.locator(".map").press("Home")
    assert "reads 10 pixels" in fact(page, "Chosen output")


def test_branches_are_added_edited_and_removed(play):
    page = play("#layers=k3r2p2&size=20")
    assert not page.locator('[data-out="branches"]').is_visible()
    press(page, "Add a branch")
    branch = page.get_by_role("combobox", name="Branch", exact=True)
    assert branch.input_value() == "2"
    page.get_by_role("group", name="Layer 1").get_by_label("Rate").fill("3")
    page.clock.run_for(500)
    page.wait_for_url(
        "**#layers=k3r2p2|k3r3p3&size=20&show=branches&branch=2*"
    )
    assert fact(page, "Coverage").startswith("5 of 7 pixels on a line, 17 of")
    assert said(page, "which").startswith("Of branch 2.")
    branch.select_option("1: 3×3, rate 2")
    rate = page.get_by_role("group", name="Layer 1").get_by_label("Rate")
    assert rate.input_value() == "2"
    press(page, "Remove this branch")
    assert rate.input_value() == "3"
    assert page.get_by_label("Colour by").input_value() == "paths"
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "Add a branch"
    for _ in range(7):
        press(page, "Add a branch")
    assert page.locator('[data-do="fork"]').is_disabled()
    focused = "document.activeElement.dataset.key"
    assert page.evaluate(focused) == "branch"


def test_branches_that_do_not_meet_are_named_and_can_be_mended(play):
    page = play("#layers=k3p1|k3p1&size=20")
    layer = page.get_by_role("group", name="Layer 1")
    layer.get_by_label("Stride").fill("2")
    assert fact(page, "Output").startswith("none. The branches have sides of")
    assert "no output" in said(page, "map")
    assert page.locator('[data-do="step"]').is_disabled()
    page.get_by_role("combobox", name="Branch", exact=True).select_option(
        "2: 3×3"
    )
    layer.get_by_label("Stride").fill("2")
    assert fact(page, "Output") == "10 × 10"
    assert page.get_by_role("alert").count() == 0


def test_a_sequence_is_one_row_that_reads_the_past(play):
    page = play(PAST)
    assert not page.get_by_label("Output row").is_visible()
    assert said(page, "column") == "31"  # the last, whose field is whole
    assert "reads 16 positions" in fact(page, "Chosen output")
    assert fact(page, "Receptive field").endswith("nothing later is read")
    page.locator(".map").press("ArrowUp")
    page.locator(".map").press("ArrowLeft")
    assert said(page, "column") == "30"
    page.locator(".map").press("Home")
    assert "position 0 reads 1 position" in fact(page, "Chosen output")
    page.clock.run_for(500)
    page.wait_for_url(f"**{PAST[1:]}&at=0*")
    picture = page.locator(".map svg")
    picture.scroll_into_view_if_needed()
    low, _, side, _ = map(float, picture.get_attribute("viewBox").split())
    box = picture.bounding_box()
    x = box["width"] * (20.5 - low) / side
    page.mouse.click(box["x"] + x, box["y"] + box["height"] / 2)
    assert said(page, "column") == "20"
    press(page, "Step")
    page.clock.run_for(1000)
    assert said(page, "column") == "21"
    # Two outputs are filled, in the view from the side one of them.
    assert filled(page) == 2
    made = page.locator('[data-out="section"] .made').get_attribute("d")
    assert made.count("M") == 1


def test_the_form_of_the_input_is_chosen(play):
    page = play("#layers=k3r2p2&size=20&channels=4")
    form = page.get_by_role("combobox", name="Input", exact=True)
    assert form.input_value() == "image"
    form.select_option("a sequence, padded before only")
    page.clock.run_for(500)
    page.wait_for_url("**#layers=k3r2c4&axes=1&size=20&channels=4*")
    assert fact(page, "Coverage") == "3 of 5 positions, 60.0 %"
    assert fact(page, "Holes").endswith("2, 4 of the field, counted from 1")
    assert fact(page, "Parameters").startswith(f"{4 * 4 * 3 + 4} with 4")
    page.get_by_label("Input length").fill("3000")
    assert fact(page, "Output") == "3,000"
    page.get_by_role("group", name="Layer 1").get_by_label("Rate").fill("5")
    assert fact(page, "Output") == "3,000"  # the padding followed
    form.select_option("an image")
    assert fact(page, "Output") == "257 × 257"


def test_a_preset_of_each_kind(play):
    page = play("")
    presets = page.get_by_label("Start from")
    presets.select_option("WaveNet, one cycle")
    assert (
        page.get_by_role("combobox", name="Input", exact=True).input_value()
        == "causal"
    )
    assert fact(page, "Coverage") == "1,024 of 1,024 positions, 100.0 %"
    page.get_by_role("combobox", name="Input", exact=True).select_option(
        "a sequence"
    )
    assert presets.input_value() == "-1"  # no longer that stack
    presets.select_option("ASPP, output stride 8")
    assert page.get_by_label("Colour by").input_value() == "branches"
    assert (
        page.get_by_role("combobox", name="Branch", exact=True).input_value()
        == "4"
    )
    presets.select_option("1, 2, 5")
    assert page.get_by_label("Colour by").input_value() == "paths"
    holes = [i for i, n in enumerate(usage([Window(3, 1, 9)]), 1) if not n]
    page.get_by_label("Start from").select_option("1, 2, 9")
    assert "8, 9, 17, 18 of the field, counted from 1" in fact(page, "Holes")
    assert len(holes) == 16


@pytest.mark.parametrize(("theme", "width"), [("light", 1300), ("dark", 360)])
@pytest.mark.parametrize("address", [ASPP, PAST])
def test_axe_finds_nothing_and_nothing_scrolls(play, address, theme, width):
    page = play(address, width=width, color_scheme=theme)
    press(page, "Step")
    named = {"label-content-name-mismatch": {"enabled": True}}
    options = {"preload": False, "rules": named}
    page.clock.resume()
    found = Axe().run(page, options=options).response
    faults = [
        {rule["id"]: [node["target"] for node in rule["nodes"]]}
        for rule in found["violations"]
    ]
    assert not faults, json.dumps(faults, indent=1)
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(
    "layers",
    [
        "-".join(f"k2r{2**i}c{2**i}" for i in [*range(10)] * 3),
        "|".join(["-".join(["k3p1"] * 32)] * 8),
    ],
)
def test_the_largest_are_drawn(play, layers):
    page = play(f"#layers={layers}&axes=1&size=3070", width=360)
    assert page.locator('[data-out="section"] svg').count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    press(page, "Step")
    assert said(page, "column") == "0"
