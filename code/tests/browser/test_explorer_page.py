"""The explorer: driven, and its numbers compared with Python's."""

import re

import pytest

from atrous.arithmetic import Window, fields, output_size, usage, valid_weights
from atrous.gridding import hybrid_rates
from atrous.sequences.causal import causal_window
from built_site import SITE

PAGE = SITE / "book" / "explorer.html"
STACKS = [
    (33, hybrid_rates.layers((1, 2, 9))),
    (33, hybrid_rates.layers((2, 2, 2))),
    (40, (Window(7, 2, padding=3), Window(3, 2), Window(3, dilation=2))),
    (90, (*hybrid_rates.layers((1, 1, 2, 4, 8, 16, 1)), Window(1))),
    (9, ()),
]


@pytest.fixture
def visit(visit):
    """Opens the explorer, from the disk unless another address is given."""

    def explorer(address="", *, url=None, **options):
        return visit(f"{url or PAGE.as_uri()}{address}", **options)

    return explorer


def address(size, stack, more=""):
    layers = (
        f"k{w.kernel}s{w.stride}r{w.dilation}p{w.padding}" for w in stack
    )
    return f"#layers={'-'.join(layers)}&size={size}{more}"


def said(page, name):
    return page.locator(f'[data-out="{name}"]').inner_text()


def fact(page, name):
    row = page.locator(f'.facts > div:has(dt:text-is("{name}"))')
    return row.locator("dd").inner_text()


def at(page):
    return [int(said(page, "row")), int(said(page, "column"))]


@pytest.mark.parametrize(("size", "stack"), STACKS)
def test_numbers_are_pythons(visit, size, stack):
    page = visit(address(size, stack, "&channels=5"))
    found, sides = fields(stack), []
    for i, (window, field) in enumerate(zip(stack, found, strict=True)):
        sides.append(output_size(size, stack[: i + 1]))
        weights = (window.kernel * 5) ** 2 + 5
        assert said(page, f"layer-{i}") == (
            f"output {sides[-1]}, field {field.size}, jump {field.jump}, "
            f"start {field.start:g}, {weights:,} parameters"
        )
    side = output_size(size, stack)
    assert fact(page, "Output") == f"{side} × {side}"
    touched, every = hybrid_rates.reached(stack)
    assert fact(page, "Coverage").startswith(
        f"{touched} of {every} pixels on a line, "
        f"{touched**2:,} of {every**2:,} in the square"
    )
    holes = [i for i, ways in enumerate(usage(stack), 1) if not ways]
    assert (fact(page, "Holes") == "none") == (not holes)
    if holes:
        listed = ", ".join(map(str, holes[:12]))
        assert fact(page, "Holes").startswith(f"{len(holes)} on a line")
        assert listed in fact(page, "Holes")
    assert ("no hole" in said(page, "truth")) == hybrid_rates.covers(stack)
    rates = [window.dilation for window in stack if window.kernel > 1]
    if stack and len({(w.kernel, w.stride) for w in stack[:-1]}) == 1:
        verdict = (
            "accepted" if hybrid_rates.published_rule(rates) else "rejected"
        )
        assert verdict in said(page, "rule")
    if stack:
        last = valid_weights(
            65, stack[int(page.input_value("[id$=-layer]")) - 1]
        )
        for number, count in last.items():
            assert f"{number} valid at {count:,} of" in said(page, "valid")


def test_each_pixel_has_its_number_of_paths(visit):
    page = visit(address(7, hybrid_rates.layers((1, 2))))
    line = usage(hybrid_rates.layers((1, 2)))
    shown = page.locator(".map .number").all_text_contents()
    products = [a * b for a in line for b in line]
    assert sorted(map(int, shown)) == sorted(n for n in products if n)


def test_keys_move_the_output_and_are_told(visit):
    page = visit()
    page.locator(".map").focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight"):
        page.keyboard.press(key)
    assert at(page) == [14, 17]
    assert "row 14, column 17 reads" in fact(page, "Chosen output")
    page.wait_for_url("**&at=14.17")
    label = page.locator(".map").get_attribute("aria-label")
    assert "row 14, column 17 reads" in label
    entries = page.evaluate("history.length")
    page.keyboard.press("Home")
    assert at(page) == [0, 0]
    page.wait_for_url("**&at=0.0")  # a walk is one entry in the history
    assert page.evaluate("history.length") == entries
    page.keyboard.press("ArrowLeft")
    assert at(page) == [0, 0]
    page.keyboard.press("End")
    assert at(page) == [32, 32]
    page.get_by_label("Output row").press("ArrowLeft")
    assert at(page) == [31, 32]
    told = page.get_by_role("status")
    page.wait_for_timeout(1200)
    assert told.inner_text().startswith("Chosen output: row 31, column 32")


def test_the_mouse_chooses_the_nearest_output(visit):
    stack = (Window(3, 2), Window(3, dilation=2))
    page = visit(address(41, stack))
    field, count = fields(stack)[-1], output_size(41, stack)
    page.locator(".map").scroll_into_view_if_needed()
    box = page.locator(".map svg").bounding_box()
    scale = box["width"] / 41  # nothing is padded: the map alone is seen
    for row, column in ((0, 0), (3, 11), (count - 1, 2)):
        x, y = (field.start + i * field.jump + 0.5 for i in (column, row))
        page.mouse.click(box["x"] + x * scale, box["y"] + y * scale)
        assert at(page) == [row, column]
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 40 * scale, box["y"] + 40 * scale)
    page.mouse.up()
    assert at(page) == [count - 1] * 2


def test_the_mouse_finds_pixels_between_padding(visit):
    page = visit()
    picture = page.locator(".map svg")
    picture.scroll_into_view_if_needed()
    low, _, side, _ = map(float, picture.get_attribute("viewBox").split())
    box = picture.bounding_box()
    x, y = (box["width"] * (i + 0.5 - low) / side for i in (30, 3))
    page.mouse.click(box["x"] + x, box["y"] + y)
    assert low < 0
    assert at(page) == [3, 30]


def test_the_holes_close_and_going_back_opens_them(visit):
    page = visit()
    assert fact(page, "Holes").startswith("4 on a line")
    rate = page.get_by_role("group", name="Layer 3").get_by_label("Rate")
    rate.fill("5")
    assert fact(page, "Holes") == "none"
    assert said(page, "truth").endswith("no hole.")
    assert page.input_value('[data-key="padding"][data-layer="2"]') == "5"
    page.wait_for_url("**#layers=k3p1-k3r2p2-k3r5p5&size=33*")
    assert (
        page.get_by_label("Start from").evaluate(
            "list => list.selectedOptions[0].text"
        )
        == "1, 2, 5"
    )
    page.wait_for_timeout(1000)
    assert "Holes: none" in page.get_by_role("status").inner_text()
    page.get_by_label("Channels").fill("1")
    page.wait_for_timeout(1000)  # only what is new is told
    told = page.get_by_role("status").inner_text()
    assert told.startswith("Parameters: 30 with 1 channel in")
    page.go_back()
    page.go_back()
    page.wait_for_function(
        "document.querySelectorAll('[data-key=dilation]')[2].value === '9'"
    )
    assert fact(page, "Holes").startswith("4 on a line")
    page.go_forward()
    page.wait_for_function(
        "document.querySelectorAll('[data-key=dilation]')[2].value === '5'"
    )


def test_layers_are_moved_removed_and_added_by_keys(visit):
    page = visit()

    def rates():
        return [
            box.input_value()
            for box in page.locator('[data-key="dilation"]').all()
        ]

    page.get_by_label("Move layer 3 up").focus()
    page.keyboard.press("Enter")
    assert rates() == ["1", "9", "2"]
    page.keyboard.press("Enter")  # the focus went with the layer
    assert rates() == ["9", "1", "2"]
    page.get_by_label("Remove layer 2").press("Enter")
    assert rates() == ["9", "2"]
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused) == "Remove layer 2"
    page.get_by_role("button", name="Add a layer").press("Enter")
    assert rates() == ["9", "2", "2"]
    for _ in range(3):
        page.get_by_label("Remove layer 1").press("Enter")
    assert rates() == []
    assert fact(page, "Output") == "33 × 33"


def test_wrong_entries_are_named_and_change_nothing(visit):
    page = visit()
    rate = page.get_by_role("group", name="Layer 1").get_by_label("Rate")
    for wrong in ("0", "999", "", "1.5"):
        rate.fill(wrong)
        words = "Layer 1, Rate: a whole number from 1 to 512 is possible."
        assert page.get_by_role("alert").inner_text() == words
        assert rate.get_attribute("aria-invalid") == "true"
    page.keyboard.press("Tab")
    page.wait_for_function(
        "!document.querySelector('[aria-invalid], [role=alert]:not([hidden])')"
    )
    assert rate.input_value() == "1"
    page.get_by_label("Input side").fill("1")
    rate.fill("50")
    page.get_by_role("group", name="Layer 1").get_by_label("Padding").fill("0")
    assert "does not fit" in fact(page, "Output")
    assert "no output" in said(page, "map")


def test_a_bad_address_is_answered_in_words(visit):
    page = visit("#layers=k3r0&size=20&colour=red")
    words = page.get_by_role("alert").inner_text()
    assert "layer 1 cannot be “k3r0”" in words
    assert "“colour=red”, which means nothing" in words
    assert fact(page, "Output") == "20 × 20"
    page.get_by_label("Input side").fill("21")
    assert page.get_by_role("alert").count() == 0


def test_every_preset_can_be_chosen(visit):
    page = visit()
    before = set()
    options = page.get_by_label("Start from").locator("option")
    for i in range(options.count() - 1):
        page.get_by_label("Start from").select_option(str(i))
        assert page.get_by_label("Start from").input_value() == str(i)
        assert re.fullmatch(r"(\d+ × )?[\d,]+", fact(page, "Output"))
        before.add(page.locator(".map").inner_html())
        assert page.locator('[data-out="section"] svg').count() == 1
    assert len(before) > i / 2


def test_headings_are_no_states(visit):
    page = visit("#how-to-read-it")
    assert fact(page, "Output") == "33 × 33"
    assert page.get_by_role("alert").count() == 0
    entries = page.evaluate("history.length")
    change(page, 3, "Rate", 5)
    page.wait_for_url("**#layers=k3p1-k3r2p2-k3r5p5&size=33*")
    assert page.evaluate("history.length") == entries  # none to go back to
    page.evaluate("location.hash = 'how-to-read-it'")
    assert fact(page, "Holes") == "none"
    change(page, 3, "Rate", 4)
    page.wait_for_url("**#layers=k3p1-k3r2p2-k3r4p4&size=33*")


def test_numbers_that_cannot_be_are_refused_in_words(visit):
    page = visit(f"#layers={'-'.join(['k1s8'] * 20)}")
    alert = page.get_by_role("alert")
    assert "beyond 2^53" in alert.inner_text()
    page.get_by_role("button", name="Add a layer").click()
    assert alert.count() == 0
    assert page.locator(".map svg").count() == 1


def test_an_even_kernel_on_a_map_of_one_is_shown(visit):
    page = visit("#layers=k2&size=9&map=1")
    assert page.get_by_role("alert").count() == 0
    assert fact(page, "Output") == "8 × 8"
    assert page.locator('[data-out="curves"] svg').count() == 1


def test_a_click_that_leaves_a_wrong_entry_meets_its_button(visit):
    page = visit()
    change(page, 3, "Rate", 999)
    assert page.get_by_role("alert").is_visible()
    button = page.get_by_label("Remove layer 1")
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.wait_for_timeout(100)
    page.mouse.up()
    page.wait_for_function("!document.querySelector('[aria-invalid]')")
    assert page.locator('[data-key="dilation"]').count() == 2
    assert page.get_by_role("alert").count() == 0


def test_a_finger_taps_the_map_or_scrolls_over_it(visit):
    page = visit(width=360, has_touch=True)
    picture = page.locator(".map")
    picture.scroll_into_view_if_needed()
    before, entries = at(page), page.evaluate("history.length")
    box = picture.bounding_box()
    x, y = box["x"] + 50, box["y"] + box["height"] - 20
    fingers = page.context.new_cdp_session(page)
    top = page.evaluate("scrollY")
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        *(("touchMove", [{"x": x, "y": y - d}]) for d in range(20, 200, 20)),
        ("touchEnd", []),
    ):
        fingers.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
        )
    page.wait_for_timeout(400)
    assert page.evaluate("scrollY") > top + 100
    assert at(page) == before
    assert page.evaluate("history.length") == entries
    page.locator(".map").tap(position={"x": 40, "y": 60})
    assert at(page) != before


def test_the_last_layer_that_fits_keeps_the_focus(visit):
    page = visit(f"#layers={'-'.join(['k3p1'] * 31)}&size=9")
    button = page.get_by_role("button", name="Add a layer")
    button.press("Enter")
    assert button.is_disabled()
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused) == "Remove layer 32"


def test_an_entry_that_became_right_is_not_called_wrong(visit):
    page = visit()
    rate = page.get_by_role("group", name="Layer 3").get_by_label("Rate")
    rate.fill("0")
    assert rate.get_attribute("aria-invalid") == "true"
    rate.fill("03")
    assert rate.get_attribute("aria-invalid") is None
    assert page.get_by_role("alert").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 360])
@pytest.mark.parametrize("stack", [STACKS[0], STACKS[3]])
def test_nothing_scrolls_sideways(visit, theme, width, stack):
    page = visit(address(*stack), width=width, color_scheme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for picture in page.locator(".explorer svg.picture").all():
        box = picture.bounding_box()
        assert box["x"] + box["width"] <= width
    paper = page.locator(".map .paper").evaluate(
        "path => getComputedStyle(path).fill"
    )
    assert (paper == "rgb(255, 255, 255)") == (theme == "light")


def test_long_numbers_do_not_scroll_sideways(visit):
    stack = (Window(31, 8, 128, 512),) * 14
    page = visit(address(257, stack, "&channels=4096"), width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_focus_is_seen(visit):
    page = visit()
    page.get_by_label("Speed").focus()
    page.keyboard.press("Tab")
    outline = page.evaluate(
        "[document.activeElement.className,"
        " getComputedStyle(document.activeElement).outline]"
    )
    # The book's own colour of focus, as on every other page.
    assert outline == ["map", "rgb(0, 114, 178) solid 3px"]


def test_every_control_has_a_name_of_its_own(visit):
    page = visit()
    names = page.locator(".explorer").evaluate(
        """host => [...host.querySelectorAll("input, select, button")].map(
            one => (one.closest("fieldset")?.querySelector("legend")
                .textContent ?? "") + "/" + (one.getAttribute("aria-label")
                ?? one.labels[0]?.childNodes[0].textContent.trim()
                ?? one.textContent))"""
    )
    assert all(name.split("/")[1] for name in names)
    assert len(set(names)) == len(names)


def test_links_in_the_text_show_their_stacks(visit):
    page = visit()
    page.get_by_role("link", name="rates 2, 3").click()
    page.wait_for_function("location.hash.includes('k3r2p2-k3r3p3')")
    assert fact(page, "Coverage").startswith("9 of 11 pixels on a line")
    assert said(page, "rule").endswith("accepted, wrongly.")
    page.get_by_role("link", name="rates 1, 3, 1").click()
    page.wait_for_function("location.hash.includes('k3p1-k3r3p3-k3p1')")
    assert fact(page, "Holes") == "none"
    assert said(page, "rule").endswith("rejected, wrongly.")


def small(visit, chapter, number=0, **options):
    """A chapter's explorer, and the page that it stands on."""
    url = (SITE / "chapters" / f"{chapter}.html").as_uri()
    page = visit(url=url, mounted=True, **options)
    return page.locator("div.explorer").nth(number), page


def change(one, layer, key, value):
    one.get_by_role("group", name=f"Layer {layer}").get_by_label(key).fill(
        str(value)
    )


def test_small_ones_keep_their_states_to_themselves(visit):
    first, page = small(visit, "deeplabv3")
    second = page.locator("div.explorer").nth(1)
    address, before = page.url, second.inner_html()
    assert not first.locator('[data-part="valid"]').is_visible()
    assert not second.locator(".map").is_visible()
    first.locator(".map").press("Home")
    assert "row 0" in first.locator(".map").get_attribute("aria-label")
    assert second.inner_html() == before
    page.wait_for_timeout(400)
    assert page.url == address
    ids = page.locator("[id]").evaluate_all("all => all.map(one => one.id)")
    assert len(set(ids)) == len(ids)


# What the text beside each small explorer says of it.


def test_in_operator_the_rate_of_a_layer_changes(visit):
    one, _ = small(visit, "operator")
    assert fact(one, "Receptive field").startswith("5 × 5")
    change(one, 1, "Rate", 4)
    assert fact(one, "Receptive field").startswith("9 × 9")


def test_in_operator_a_stride_becomes_a_rate(visit):
    one, _ = small(visit, "operator", 1)
    before = fact(one, "Receptive field")
    assert fact(one, "Output") == "17 × 17"
    change(one, 1, "Stride", 1)
    change(one, 2, "Rate", 2)
    assert fact(one, "Output") == "33 × 33"
    after = fact(one, "Receptive field")
    assert before.split(";")[0] == after.split(";")[0]
    assert fact(one, "Holes") == "none"


def test_in_yu2016_a_corner_reads_padding(visit):
    one, _ = small(visit, "yu2016")
    assert f"reads {67**2:,} pixels" in fact(one, "Chosen output")
    one.locator(".map").press("ArrowRight")
    assert f"reads {67 * 66:,} pixels" in fact(one, "Chosen output")
    one.locator(".map").press("Home")
    assert f"reads {34**2:,} pixels" in fact(one, "Chosen output")


def test_in_deeplabv2_the_middle_reads_one_tap(visit):
    one, _ = small(visit, "deeplabv2")
    assert re.search(
        r"reads 1 pixel of .* by 1 path\b", fact(one, "Chosen output")
    )
    one.locator(".map").press("Home")
    assert "reads 4 pixels of" in fact(one, "Chosen output")


def test_in_drn_two_layers_close_the_holes(visit):
    one, _ = small(visit, "drn")
    for number, rate in ((2, 2), (3, 1)):
        assert fact(one, "Holes") != "none"
        one.get_by_role("button", name="Add a layer").click()
        change(one, number, "Rate", rate)
    assert fact(one, "Holes") == "none"


def test_in_deeplabv3_even_rates_keep_to_a_phase(visit):
    one, _ = small(visit, "deeplabv3")
    assert "they lie in 1 of 4 phases" in fact(one, "Chosen output")
    change(one, 1, "Rate", 1)
    assert fact(one, "Holes") != "none"
    line = usage(hybrid_rates.layers((1, 4, 8)))
    assert {i % 2 for i, ways in enumerate(line) if ways} == {0, 1}


def test_in_deeplabv3_weights_are_counted(visit):
    one, page = small(visit, "deeplabv3", 1)
    counts = valid_weights(65, Window(3, dilation=18, padding=18))
    for number, count in counts.items():
        assert f"{number} valid at {count:,} of" in said(one, "valid")
    change(one, 1, "Rate", 20)
    page.wait_for_timeout(1000)
    told = one.get_by_role("status").inner_text()
    assert told == f"Valid weights: {said(one, 'valid')}"


def test_in_gridding_neighbours_share_nothing(visit):
    one, _ = small(visit, "gridding")
    line = {
        i + 16
        for i, ways in enumerate(usage(hybrid_rates.layers((2, 2, 2))))
        if ways
    }
    assert not line & {i + 1 for i in line}
    read = one.locator(".map .full")
    colour = read.first.get_attribute("class")
    assert read.count() == 1
    one.locator(".map").press("ArrowRight")
    assert read.count() == 1
    assert read.first.get_attribute("class") != colour
    for layer, rate in ((1, 1), (3, 3)):
        change(one, layer, "Rate", rate)
    assert fact(one, "Holes") == "none"


def test_in_sequences_a_larger_last_rate_leaves_steps_out(visit):
    one, _ = small(visit, "sequences")
    assert fact(one, "Holes") == "none"
    assert re.search(r"reads 16 .* by 1 path\b", fact(one, "Chosen output"))
    change(one, 4, "Rate", 16)
    line = usage([causal_window(2, rate) for rate in (1, 2, 4, 16)])
    assert line == (1,) * 8 + (0,) * 8 + (1,) * 8
    assert fact(one, "Holes").startswith("8, positions 9, ")


@pytest.mark.parametrize(
    "chapter",
    [
        *("operator", "yu2016", "deeplabv2", "drn", "deeplabv3"),
        *("gridding", "sequences"),
    ],
)
def test_a_small_one_leads_to_the_whole(visit, chapter):
    one, page = small(visit, chapter)
    before = fact(one, "Coverage")
    page.get_by_role("link", name="Open this stack").first.click()
    page.wait_for_url("**/book/explorer.html#layers=*")
    assert fact(page, "Coverage") == before
    assert page.get_by_role("alert").count() == 0


def test_it_works_over_http_as_well(visit, server):
    page = visit(address(*STACKS[1]), url=f"{server}/book/explorer.html")
    assert fact(page, "Coverage").startswith("7 of 13 pixels on a line")
    page.get_by_label("Colour by").select_option("phases")
    assert "1 of 4 phases" in fact(page, "Chosen output")


@pytest.mark.parametrize("url", [None, SITE / "chapters" / "drn.html"])
def test_without_scripts_there_is_a_picture(visit, url):
    page = visit(url=url and url.as_uri(), java_script_enabled=False)
    still = page.locator("noscript > svg")
    assert still.is_visible()
    assert still.bounding_box()["height"] > 300
    assert "Coverage" in still.get_attribute("aria-label")


def test_small_ones_wait_until_they_are_near(visit):
    url = (SITE / "chapters" / "gridding.html").as_uri()
    page = visit(url=url)
    page.wait_for_timeout(500)
    assert page.locator("div.explorer").inner_html() == ""
    page.locator("div.explorer").scroll_into_view_if_needed()
    page.locator(".map svg").wait_for()


def test_pages_without_one_do_not_load_it():
    for page in SITE.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        hosts, loads = (
            text.count(s) for s in ('class="explorer"', "explorer.js")
        )
        assert bool(hosts) == (loads == 1)
