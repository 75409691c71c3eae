"""The reader of the heartbeat guest, on what a real guest left behind and on what may become of it.

tests/unit/data/guest holds one guest's story under QEMU 7.2 (tcg, 128 MiB, virtio-blk): its ring was
given a record n=2020, then it booted, had a volume plugged in with the command `c1`, grown and
pulled, was stopped for 2.51 s and carried to a second QEMU in that time, was killed by SIGKILL,
booted again, and was powered off by its button. The console is that of the three processes in a row.
"""

import gzip
import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import heartbeat as hb
from lab.guest.build import LAYOUT

DATA = Path(__file__).parent / "data" / "guest"
TEXT = (DATA / "console.txt").read_bytes().decode()
RING = gzip.decompress((DATA / "root-ring.gz").read_bytes())
VOLUME_RING = gzip.decompress((DATA / "volume-ring.gz").read_bytes())
VOLUME_RESULT = gzip.decompress((DATA / "volume-result.bin.gz").read_bytes())
CONSOLE = hb.read_console(TEXT)
FIRST, SECOND = CONSOLE.boots
KERNEL = "[   12.345678] sd 0:0:0:0: [sda] 2048 512-byte logical blocks: (1.05 MB/1.00 MiB)"


def beat(n: int, *, up: float, rtc: int, edge: bool = True, boot: str = "0123abcd", ok: bool = True) -> hb.Beat:
    return hb.Beat(n=n, wall=rtc + 0.1, up=up, ok=ok, boot=boot, rtc=rtc, edge=edge, dev="vda", root=True)


def record(n: int) -> bytes:
    line = f"osc-beat n={n} t=1795240267.100 up={n}.00 dev=vda role=root boot=0123abcd rtc=1795240267 edge=1 end"
    return line.encode().ljust(hb.RECORD_BYTES - 1) + b"\n"


def ring_of(numbers: range) -> bytes:
    slots = {n % hb.RING_SLOTS: record(n) for n in numbers}
    empty = bytes(hb.RECORD_BYTES)
    return b"".join(slots.get(slot, empty) for slot in range(hb.RING_SLOTS))


# ---- the recorded guest


def test_layout_is_the_one_the_image_is_built_with() -> None:
    assert asdict(LAYOUT) == {
        "base": hb.ROOT.base,
        "header": hb.ROOT.ring - hb.ROOT.base,
        "record": hb.RECORD_BYTES,
        "slots": hb.RING_SLOTS,
        "area": hb.AREA_BYTES,
    }
    assert hb.ROOT.ring + hb.RING_BYTES == hb.ROOT.free
    assert (hb.DATA.command, hb.DATA.result, hb.DATA.ring) == (0, 4096, 65536)


def test_console_tells_boots_disks_io_and_power() -> None:
    assert [boot.last for boot in CONSOLE.boots] == [2020, 2052]
    assert [(event.kind, event.name, event.size) for event in CONSOLE.disks] == [
        ("add", "vda", 256 * hb.MIB),
        ("add", "vdb", 32 * hb.MIB),
        ("resize", "vdb", 48 * hb.MIB),
        ("remove", "vdb", None),
        ("add", "vda", 256 * hb.MIB),
    ]
    assert [(io.state, io.op, io.dev, io.id, io.run) for io in CONSOLE.ios] == [("done", "check", "vdb", "c1", 1)]
    assert CONSOLE.powered_off == 1


def test_console_tells_what_the_kernel_said() -> None:
    assert CONSOLE.kernel == ("[    5.547323] reboot: Power down",)
    assert hb.read_console(f"osc-beat n=1 t={KERNEL}\r\n").kernel == (KERNEL,)


def test_root_beats_are_told_from_the_volumes() -> None:
    assert [found.n for found in hb.beats(TEXT)] == list(range(2021, 2057))
    assert [found.n for found in hb.beats(TEXT, "vdb") if found.ok] == list(range(1, 9))
    assert all(not found.root for found in hb.beats(TEXT, "vdb"))


def test_ring_survives_the_kill_and_goes_on_after_the_reboot() -> None:
    ring = hb.read_ring(RING)
    assert ring.damaged == ()
    assert [found.n for found in ring.beats] == list(range(2020, 2057))
    assert hb.lost(ring.beats) == ()
    assert hb.boots(ring.beats) == ("00000000", FIRST.id, SECOND.id)


def test_every_beat_that_the_console_promised_is_in_the_ring() -> None:
    assert hb.broken_promises(hb.beats(TEXT), hb.read_ring(RING)) == ()


def test_volume_ring_ends_where_it_was_pulled() -> None:
    ring = hb.read_ring(VOLUME_RING)
    assert [found.n for found in ring.beats] == list(range(1, 9))
    assert {found.dev for found in ring.beats} == {"vdb"}


def test_longest_gap_shows_the_pause_of_the_recorded_migration() -> None:
    ring = hb.read_ring(RING)
    gap = hb.longest_gap(found for found in ring.beats if found.boot == FIRST.id)
    assert gap is not None
    assert gap.paused == pytest.approx(2.510, abs=0.05)
    assert gap.seconds >= gap.paused
    assert not gap.reboot


def test_gap_over_the_kill_is_a_reboot() -> None:
    ring = hb.read_ring(RING)
    gap = hb.longest_gap(found for found in ring.beats if found.boot != "00000000")
    assert gap is not None
    assert gap.reboot
    assert (gap.before.boot, gap.after.boot, gap.paused) == (FIRST.id, SECOND.id, 0.0)
    assert 8 < gap.seconds < 11


def test_result_and_console_agree_with_the_pattern() -> None:
    result = hb.read_result(VOLUME_RESULT)
    assert result is not None
    assert (result.id, result.op, result.state, result.run) == ("c1", "check", "done", 1)
    assert result.sha256 == CONSOLE.ios[0].sha256 == hb.pattern_digest("abc", 4)


# ---- mangled consoles


@settings(deadline=None)
@given(st.integers(0, len(TEXT)), st.booleans())
def test_kernel_message_anywhere_spoils_its_line_only(place: int, own_line: bool) -> None:
    noise = f"{KERNEL}\r\n" if own_line else KERNEL
    found = hb.read_console(TEXT[:place] + noise + TEXT[place:])
    assert set(found.beats) <= set(CONSOLE.beats)
    assert len(found.beats) >= len(CONSOLE.beats) - 1
    assert set(found.ios) <= set(CONSOLE.ios)


@settings(deadline=None)
@given(st.integers(0, len(TEXT)), st.integers(0, len(TEXT)))
def test_any_window_of_a_console_yields_only_true_beats(one: int, other: int) -> None:
    start, stop = sorted((one, other))
    found = hb.read_console(TEXT[start:stop])
    assert set(found.beats) <= set(CONSOLE.beats)
    assert set(found.boots) <= set(CONSOLE.boots)
    assert set(found.disks) <= set(CONSOLE.disks)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.text(max_size=12)), max_size=20))
def test_any_mangling_is_read_without_an_error(edits: list[tuple[int, str]]) -> None:
    text = TEXT
    for place, words in edits:
        text = text[:place] + words + text[place + len(words) :]
    found = hb.beats(text)
    hb.lost(found[:1])
    hb.longest_gap(found)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_console(text: str) -> None:
    assert hb.read_console(text).boots == ()


@pytest.mark.parametrize(
    "line",
    [
        "osc-beat n=5 t=1795240267.100 up=5.00 dev=vda role=root boot=0123abcd rtc=1795240267 edge=1 disk=ok io=3",
        "osc-beat n=5 n=6 t=1795240267.100 up=5.00 dev=vda role=root boot=0123abcd rtc=0 edge=1 disk=ok io=3 end",
        "osc-beat n=\u0665 t=1795240267.100 up=5.00 dev=vda role=root boot=0123abcd rtc=0 edge=1 disk=ok io=3 end",
        "osc-beat n=5 t=17osc-beat end",
        "osc-beat end",
        "osc-io maybe op=write dev=vdb id=a pass=1 ms=1 sha256=none why=none end",
        "osc-disk add name=vdb end",
        "osc-disk remove end",
        "osc-guest end",
        "osc- end",
    ],
)
def test_spoiled_line_is_left_out(line: str) -> None:
    assert hb.read_console(line) == hb.Console()


def test_disk_error_is_a_beat_that_is_not_ok() -> None:
    line = (
        "osc-beat n=5 t=1795240267.100 up=5.00 dev=vda role=root boot=0123abcd rtc=0 edge=0 disk=err:I/O_error io=3 end"
    )
    (found,) = hb.beats(line)
    assert (found.ok, found.error, found.io) == (False, "I/O_error", 0.003)


# ---- rings


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 10 * hb.RING_SLOTS), st.sampled_from([1, 7, hb.RING_SLOTS - 1, hb.RING_SLOTS]))
def test_wrapped_ring_is_read_in_order(start: int, count: int) -> None:
    ring = hb.read_ring(ring_of(range(start, start + count)))
    assert [found.n for found in ring.beats] == list(range(start, start + count))
    assert (hb.lost(ring.beats), ring.damaged) == ((), ())


@settings(deadline=None, max_examples=25)
@given(st.integers(2020, 2056), st.binary(min_size=1, max_size=400), st.integers(0, 120))
def test_damage_in_one_record_leaves_the_others(n: int, junk: bytes, place: int) -> None:
    start = n % hb.RING_SLOTS * hb.RECORD_BYTES + place
    ring = hb.read_ring(RING[:start] + junk + RING[start + len(junk) :])
    others = {found for found in hb.read_ring(RING).beats if found.n != n}
    assert others <= set(ring.beats)
    assert set(ring.damaged) <= {n % hb.RING_SLOTS}
    assert len(ring.beats) + len(ring.damaged) >= len(others)


def test_record_in_the_wrong_slot_is_damage() -> None:
    ring = hb.read_ring(bytes(hb.RECORD_BYTES) + record(7))
    assert ring == hb.Ring((), (1,))


def test_short_or_empty_ring_is_read_as_far_as_it_goes() -> None:
    assert hb.read_ring(b"") == hb.Ring()
    assert [found.n for found in hb.read_ring(record(2032) + record(1)[:100]).beats] == [2032]


# ---- judgement


def test_lost_names_holes_and_beats_the_disk_refused() -> None:
    row = [beat(n, up=n, rtc=1_795_000_000 + n, ok=n != 4) for n in (1, 2, 4, 6)]
    assert hb.lost(row) == (3, 4, 5)
    assert hb.lost([]) == ()


def test_counter_used_again_after_a_crash_is_a_broken_promise() -> None:
    told = [beat(n, up=n, rtc=1_795_000_000 + n) for n in (1, 2, 3)]
    kept = [*told[:2], beat(3, up=2.0, rtc=1_795_000_050, boot="feedbeef")]
    assert hb.broken_promises(told, hb.Ring(tuple(kept))) == (told[2],)


def test_beats_that_the_ring_has_overwritten_are_no_broken_promise() -> None:
    told = [beat(1, up=1.0, rtc=1_795_000_000)]
    assert hb.broken_promises(told, hb.read_ring(ring_of(range(2, hb.RING_SLOTS + 2)))) == ()


def test_merge_counts_a_beat_once() -> None:
    ring = hb.read_ring(RING).beats
    joined = hb.merge(hb.beats(TEXT), ring)
    assert [found.n for found in joined] == list(range(2020, 2057))
    assert joined[5].io is not None


def test_few_beats_have_no_gap() -> None:
    assert hb.longest_gap([]) is None
    assert hb.longest_gap([beat(1, up=1.0, rtc=1_795_000_000)]) is None


def test_without_an_rtc_the_wall_clock_counts() -> None:
    row = [replace(beat(n, up=n, rtc=0), wall=100.0 + 2 * n) for n in (1, 2)]
    (gap,) = hb.gaps(row)
    assert (gap.seconds, gap.paused) == (2.0, 1.0)


@settings(deadline=None)
@given(st.floats(0.02, 30.0), st.floats(0.0, 0.99), st.integers(1, 4))
def test_a_pause_before_a_late_beat_is_measured_from_the_turns_around_it(pause: float, slip: float, late: int) -> None:
    start, rtc = 10.0, 1_795_000_000
    row = [beat(n, up=start + n, rtc=rtc + n) for n in range(5)]
    for n in range(5, 5 + late):
        true = n - 1 + slip + pause
        row.append(beat(n, up=start + true - pause, rtc=rtc + int(true), edge=False))
    turn = int(row[-1].rtc - rtc) + 1
    row += [beat(n, up=start + turn + k - pause, rtc=rtc + turn + k) for k, n in enumerate(range(5 + late, 9 + late))]
    gap = hb.longest_gap(row)
    assert gap is not None
    assert gap.seconds >= pause - 0.05 or gap.seconds >= 1.0
    total = sum(found.paused for found in hb.gaps(row))
    assert total == pytest.approx(pause, abs=0.06)


# ---- commands


def test_command_is_one_block_of_plain_lines() -> None:
    block = hb.command(id="a-1", op="write", seed="s", mib=2, offset=8, repeat=3, pause=1)
    assert len(block) == hb.RECORD_BYTES
    assert block.rstrip(b"\n").decode().split("\n") == [
        "OSC-CMD 1",
        "id=a-1",
        "op=write",
        "seed=s",
        "mib=2",
        "offset=8",
        "repeat=3",
        "pause=1",
        "end",
    ]


def test_command_may_be_for_another_disk() -> None:
    block = hb.command(id="a-1", op="verify", mib=1, offset=8, on="vdb")
    assert block.rstrip(b"\n").decode().split("\n")[-2:] == ["on=vdb", "end"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "a b"},
        {"on": "v/b"},
        {"id": ""},
        {"seed": "a.2"},
        {"seed": "x\ny"},
        {"mib": 0},
        {"mib": -1},
        {"offset": 7},
        {"repeat": 10**7},
    ],
)
def test_command_refuses_what_the_guest_would(wrong: dict[str, Any]) -> None:
    words: dict[str, Any] = {"id": "a", "seed": "s", "mib": 1, "offset": 8, **wrong}
    with pytest.raises(ValueError, match=r"must be|nothing to do"):
        hb.command(op="write", **words)


def test_pattern_is_new_in_each_mib_and_each_pass() -> None:
    blocks = [*hb.pattern("seed", 3), *hb.pattern("seed", 3, run=2)]
    assert {len(block) for block in blocks} == {hb.MIB}
    assert len(set(blocks)) == 6
    assert hb.pattern_digest("seed", 3, 2) == hashlib.sha256(b"".join(blocks[3:])).hexdigest()


@pytest.mark.parametrize(
    "block", [b"", bytes(4096), b"OSC-RES 1\nend", b"OSC-RES 1\nid=a\nid=b\nend", VOLUME_RESULT[:60]]
)
def test_what_is_no_result_is_none(block: bytes) -> None:
    assert hb.read_result(block) is None


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_block_is_read_without_an_error(block: bytes) -> None:
    hb.read_result(block)
    hb.read_result(b"OSC-RES 1\n" + block + b"\nend\n")
