"""Who differs from the majority, and what the closing summary says of many targets at once."""

from __future__ import annotations

import pytest

from fixtures.parity import odd_ones
from reports.model import Entry
from reports.nodeset import folded
from reports.summary import grouped, line


def test_the_odd_ones_are_named_and_the_others_counted() -> None:
    values = {f"compute{nth}": "rbd" for nth in range(40)} | {"compute7": "qcow2", "compute9": "qcow2"}
    assert odd_ones(values) == "qcow2 on 2 of 40: compute7, compute9 (the others: rbd)"


def test_without_a_majority_nobody_is_odd() -> None:
    assert odd_ones({"a": "1", "b": "2"}) == "1 on 1 of 2: a; 2 on 1 of 2: b"


def test_hosts_that_are_alike_are_nothing_to_tell() -> None:
    assert odd_ones({"a": "1", "b": "1"}) == odd_ones({}) == ""


def test_a_value_may_be_shown_otherwise() -> None:
    assert (
        odd_ones({"a": "x", "b": "x", "c": "y"}, lambda value: "a value")
        == "a value on 1 of 3: c (the others: a value)"
    )


def entry(target: str, found: str = "absent", message: str = "") -> Entry:
    about = {"check": "a.b", "outcome": "failed", "severity": "major", "seconds": 0.0, "nodeid": "n"}
    told = message or f"{target}: found {found}; expected it. Remedy: do"
    return Entry(target=target, found="" if message else found, expected="it", message=told, **about)


def test_the_same_finding_on_many_targets_is_one_line() -> None:
    many = [entry("compute7"), entry("compute1", "another"), entry("compute9")]
    lines = [line(group, 40) for group in grouped(many)]
    assert lines == [
        "a.b [compute7] compute7: found absent; expected it. Remedy: do (the same on 2 of 40: compute[7,9])",
        "a.b [compute1] compute1: found another; expected it. Remedy: do",
    ]


def test_a_reason_that_names_its_own_target_is_the_same_reason() -> None:
    blind = [entry(f"host{nth}/vms", message=f"host{nth}: no route to host{nth}") for nth in range(12)]
    assert len(grouped(blind)) == 1
    assert line(blind, 12).endswith("(the same on 12 of 12: host[0-11]/vms)")


def test_many_names_that_do_not_fold_are_cut() -> None:
    blind = [entry(name, message="down") for name in "abcdefghijkl"]
    assert line(blind, 12).endswith("(the same on 12 of 12: a, b, c, d, e, f, g, h, i, j and 2 more)")
    odd = [entry(f"host{number}", message="down") for number in range(1, 999, 2)]
    assert len(line(odd, 999)) < 250


def test_names_that_only_begin_alike_stay_apart() -> None:
    assert len(grouped([entry("host1", "of host1"), entry("host2", "of host1")])) == 2


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([f"compute{number:03}" for number in range(1, 413)], ("compute[001-412]",)),
        (["b2/volumes", "b1/volumes", "a"], ("a", "b[1-2]/volumes")),
        (["c1", "c3", "d1", "d2"], ("c[1,3]", "d[1-2]")),
        (["images#2", "x&y", "x", "a[b"], ("x", "a[b", "images#2", "x&y")),
        ([], ()),
    ],
)
def test_names_are_told_in_few_words(names: list[str], told: tuple[str, ...]) -> None:
    assert folded(names) == told
