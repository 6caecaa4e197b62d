"""What `dilate` does to others' backbones, as it is stored and shown."""

import json
from pathlib import Path

import surgery_table as page

STORED = Path(__file__).parents[3] / "chapters" / "surgery.json"
FOUND = json.loads(STORED.read_text(encoding="utf-8"))


def test_none_is_silently_wrong_and_each_refusal_has_a_reason():
    kinds = [row["kind"] for row in FOUND["networks"].values()]
    assert {*kinds} == {"exact", "inexact", "refused"}
    assert kinds.count("exact") > 0.8 * len(kinds)
    for row in FOUND["networks"].values():
        assert row["error"] < 1e-6 if row["kind"] == "exact" else row["why"]


def test_the_page_names_every_network_once():
    lines = page.table(FOUND)
    exact = [
        f"{library}/{name}"
        for line in lines
        if line.startswith("- ")
        for library, names in [line.removeprefix("- ").split(": ")]
        for name in names.split(", ")
    ]
    rows = [line for line in lines if line.startswith("| ")][1:]
    named = [*exact, *(row.split(" | ")[0].strip("| ") for row in rows)]
    assert sorted(named) == sorted(FOUND["networks"])
    assert all(row.count(" | ") == 3 for row in rows)
    assert f" {len(exact)} are exact" in lines[0]
