"""`make test` runs every part, and its last lines say which failed."""

import json

import parts


def make(folder, **targets):
    """A stand-in for make: a target's exit status; it logs each call."""
    path = folder / "make"
    cases = "".join(f"{t}) exit {code} ;; " for t, code in targets.items())
    path.write_text(
        f'#!/bin/sh\necho "$1" >> {folder}/log\ncase "$1" in {cases}esac\n'
    )
    path.chmod(0o755)
    return str(path)


def test_a_part_that_fails_keeps_none_from_running(tmp_path, capfd):
    tool, times = make(tmp_path, a=0, b=2, c=0), tmp_path / "times.json"
    assert parts.main(["a", "b", "c"], tool, times) == 1
    assert (tmp_path / "log").read_text().split() == ["a", "b", "c"]
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("make a b c: Not run on this machine")
    summary = lines[lines.index("== summary ==") + 1 :]
    words = [line.split()[:2] for line in summary]
    assert words == [["a", "passed"], ["b", "FAILED"], ["c", "passed"]]
    assert json.loads(times.read_text()).keys() == {"a", "b", "c"}


def test_the_next_time_says_how_long_it_takes(tmp_path, capfd):
    times = tmp_path / "times.json"
    times.write_text('{"a": 61, "b": 5.4}')
    assert parts.main(["a"], make(tmp_path, a=0), times) == 0
    out = capfd.readouterr().out
    assert out.startswith("make a: Last time here: 1 min 01 s (a 1 min 01 s)")
    assert json.loads(times.read_text())["b"] == 5.4
    words = parts.usual(["a", "b"], {"a": 61, "b": 5.4})
    assert words == (
        "Last time here: 1 min 06 s (a 1 min 01 s, b 0 min 05 s)."
    )
