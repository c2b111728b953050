"""Checkpoints: what comes back is what was kept, to the bit, and nothing that is wrong is ever used."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsbench import _files
from gsbench.errors import JobError
from gsbench.methods import Context
from gsbench.training import checkpoint_folder
from gsbench.training.checkpoint import NoCheckpoints
from gsbench.training.checkpoint_folder import CheckpointFolder
from gsbench.training.packing import pack, to_json, unpack

IDENTITY = {"key": "k" * 8, "isa": "avx2", "gpu": None}


@pytest.fixture(autouse=True)
def _restore_randomness() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


class Place(CheckpointFolder):
    """Remembers what it said."""

    def __init__(self, folder: Path, identity: Any = IDENTITY, **options: Any) -> None:
        self.said: list[str] = []
        self.resumptions: list[tuple[int, int]] = []
        super().__init__(
            folder,
            identity,
            on_note=self.said.append,
            on_resume=lambda step, total: self.resumptions.append((step, total)),
            **{"every": 1, **options},
        )

    def loaded(self) -> tuple[int, list[Any]]:
        """The step and what was passed to the loader."""
        states: list[Any] = []
        return self.resume(states.append), states


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "train" / "k.checkpoint"


def keep(folder: Path, step: int, state: Any = None, **options: Any) -> Place:
    place = Place(folder, **options)
    place.offer(step, 100, lambda: {"step": step} if state is None else state)
    return place


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What a state may hold.


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return type(other) is np.ndarray and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def test_a_state_of_every_kind_comes_back(folder: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    state: dict[str, Any] = {
        "tensors": [
            whole,
            whole,
            whole.T.contiguous(),
            whole[1:3],
            torch.zeros(0, 3),
            torch.tensor(7, dtype=torch.int64),
        ],
        "arrays": [
            np.arange(5, dtype=np.uint32),
            np.zeros((2, 0)),
            np.array(2.5),
            np.array([True]),
            np.array([1 + 2j]),
        ],
        "betas": (0.9, (0.999, None)),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}, 1: {}}, "param_groups": [{"params": [0, 1]}]},
        "reserved": {"$tensor": 1, "$tuple": [2], "$items": {"$float": "x"}},
        "numbers": [0.1, -0.0, 2**70, True, False, float("inf")],
        "text": "Ärger \ud7ff 🙂",
    }
    keep(folder, 3, state)
    step, (found,) = Place(folder).loaded()
    assert step == 3
    assert same(found, state)
    assert found["tensors"][0].data_ptr() != found["tensors"][1].data_ptr()


def test_generators_go_on_where_they_were(folder: Path) -> None:
    torch_generator = torch.Generator().manual_seed(5)
    numpy_generators = [
        np.random.Generator(kind(3)) for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)
    ]
    torch.randn(3, generator=torch_generator)
    for generator in numpy_generators:
        generator.integers(9, dtype=np.uint8)
    keep(folder, 1, {"torch": torch_generator, "numpy": numpy_generators})
    expected = torch.randn(4, generator=torch_generator), [g.standard_normal(4) for g in numpy_generators]
    _, (found,) = Place(folder).loaded()
    assert torch.equal(torch.randn(4, generator=found["torch"]), expected[0])
    for generator, values in zip(found["numpy"], expected[1], strict=True):
        assert np.array_equal(generator.standard_normal(4), values)


def test_the_global_generators_are_restored_after_loading(folder: Path) -> None:
    def draw() -> list[float]:
        return [
            random.random(),
            random.gauss(0, 1),
            float(np.random.rand()),
            float(np.random.normal()),
            float(torch.rand(())),
        ]

    draw()
    keep(folder, 1)
    expected = draw()
    draw()
    assert Place(folder).resume(lambda state: draw()) == 1
    assert draw() == expected


def test_a_state_that_cannot_be_kept_stops_checkpoints_and_not_the_training(folder: Path) -> None:
    place = keep(folder, 1)
    place.offer(2, 100, lambda: {"model": {"net": object()}})
    assert place.said == [
        "no checkpoints are written: the state of this training cannot be kept: state.model.net of the training's "
        "state is a builtins.object; expected tensors, arrays, random generators and plain values"
    ]
    place.offer(3, 100, lambda: {"model": 1})
    assert names(folder) == ["000000000001"]

    def broken() -> Any:
        raise ZeroDivisionError("no state")

    place = Place(folder)
    place.offer(4, 100, broken)
    assert "ZeroDivisionError: no state" in place.said[0]
    assert Place(folder).loaded()[0] == 1


def test_keys_that_cannot_be_kept() -> None:
    with pytest.raises(JobError, match=r"state\.a: key 1\.5 of a state; expected text or a whole number"):
        pack({"a": {1.5: 2}}, "a state")


def test_packing_copies_only_what_shares_memory() -> None:
    one, other = torch.ones(4), torch.ones(6)
    _, tensors = pack({"a": one, "b": one, "c": other[:2]}, "a state")
    assert tensors["a"].data_ptr() == one.data_ptr()
    assert len({t.untyped_storage().data_ptr() for t in tensors.values()}) == 3
    assert tensors["c"].untyped_storage().nbytes() == 8


def test_unpacking_runs_nothing_and_takes_only_arrays_of_numbers() -> None:
    values, tensors = pack({"a": np.arange(2, dtype=np.int64)}, "a state")
    for dtype in ("O", "U1", "V8"):
        values["a"]["dtype"] = dtype
        with pytest.raises(ValueError, match="array of"):
            unpack(json.loads(to_json(values)), tensors)
    with pytest.raises(KeyError):
        unpack({"$numpy_generator": "system", "state": {}}, {})


# When there is a checkpoint, and how many.


def test_every_so_many_steps_and_never_after_the_last(folder: Path) -> None:
    asked: list[int] = []
    place = Place(folder, every=3)
    for step in range(1, 13):
        place.offer(step, 12, lambda step=step: asked.append(step) or {})  # type: ignore[misc]
    assert asked == [3, 6, 9]
    assert names(folder) == ["000000000009"], "older ones are removed"
    off = Place(folder.with_name("off"), every=0)
    off.offer(1, 12, dict)
    assert not off.folder.exists()


def test_now_and_then_costs_about_a_hundredth(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(checkpoint_folder.time, "perf_counter", lambda: now)
    place = Place(folder, every=None)
    taken: list[float] = []

    def state() -> Any:
        nonlocal now
        taken.append(now)
        now += 2.0  # an expensive one
        return {}

    for step in range(1, 2001):
        now += 0.5
        place.offer(step, 10_000, state)
    assert taken[0] == 1015.0
    assert [round(b - a) for a, b in itertools.pairwise(taken)] == [202] * (len(taken) - 1)
    assert len(taken) == 5
    assert place.overhead_seconds == 2.0 * len(taken)


def test_the_newest_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Place, "_remove", lambda *_: None)  # as if killed before the older ones were removed
    for step in (2, 10, 9):
        keep(folder, step)
    monkeypatch.undo()
    place = Place(folder)
    assert place.loaded() == (10, [{"step": 10}])
    assert (place.resumptions, place.said, place.resumed) == ([(10, 100)], [], 1)
    place.offer(11, 100, dict)
    assert names(folder) == ["000000000011"]


def test_nothing_there(folder: Path) -> None:
    assert Place(folder).loaded() == (0, [])
    assert NoCheckpoints().resume(lambda state: 1 / 0) == 0
    NoCheckpoints().offer(1, 2, lambda: {"never": 1 / 0})
    context = Context(torch.device("cpu"), 1, 0, folder)
    assert context.checkpoint.resume(lambda state: 1 / 0) == 0


def test_what_a_checkpoint_takes_itself_is_not_measured(folder: Path) -> None:
    order: list[str] = []

    def note(what: str) -> Any:
        order.append(what)
        return {}

    place = Place(folder, measure=lambda: note("measure"), after=lambda: note("over"))
    place.offer(1, 9, lambda: note("state"))
    place.offer(2, 9, lambda: {"not": object()})
    assert order == ["measure", "state", "over", "measure", "over"]


def test_times_and_measures_add_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr(checkpoint_folder.time, "perf_counter", lambda: now)
    first = Place(folder, measure=lambda: {"peak": 7})
    now += 10.0
    first.offer(1, 100, dict)
    now += 5.0  # lost
    second = Place(folder)

    def load(state: Any) -> None:
        nonlocal now
        now += 3.0  # is no training

    second.resume(load)
    assert (second.earlier_seconds, second.overhead_seconds, second.earlier) == (10.0, 3.0, {"peak": 7})
    now += 20.0
    second.offer(2, 100, dict)
    third = Place(folder)
    third.resume(load)
    assert (third.earlier_seconds, third.resumed) == (30.0, 2)


# Damage.


def damage(path: Path, how: str) -> None:
    target, _, what = how.partition(" ")
    file = path / target
    data = file.read_bytes()
    if what == "gone":
        file.unlink()
    elif what == "empty":
        file.write_bytes(b"")
    elif what == "cut":
        file.write_bytes(data[:-9])
    elif what == "longer":
        file.write_bytes(data + b"x")
    elif what == "folder":
        file.unlink()
        file.mkdir()
    else:
        at = len(data) * int(what) // 100
        file.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])


@pytest.mark.parametrize("what", ["gone", "empty", "cut", "longer", "folder", "0", "30", "60", "99"])
@pytest.mark.parametrize("target", ["checkpoint.json", "state.safetensors"])
def test_a_damaged_one_is_set_aside_and_the_one_before_it_used(folder: Path, target: str, what: str) -> None:
    keep(folder, 1, {"x": torch.arange(1000)})
    shutil.copytree(folder, folder.with_name("older"))
    keep(folder, 2, {"x": torch.arange(1000) + 1})
    (folder.with_name("older") / "000000000001").rename(folder / "000000000001")
    damage(folder / "000000000002", f"{target} {what}")
    place = Place(folder)
    step, (state,) = place.loaded()
    if target == "checkpoint.json" and step == 2:
        assert what == "longer", "only what changes no value may pass"
        return
    assert step == 1
    assert torch.equal(state["x"], torch.arange(1000))
    (note,) = place.said
    assert note.startswith("the checkpoint of step 2 cannot be used and was set aside: ")
    assert names(folder) == ["000000000001", "000000000002.unusable"]
    damage(folder / "000000000001", f"{target} {what}")
    assert Place(folder).loaded() == (0, [])


def test_any_flipped_bit_of_the_values_is_noticed(folder: Path) -> None:
    keep(folder, 1, {"values": [1, 2.5, "text"]})
    path = folder / "000000000001" / "checkpoint.json"
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(data), 150, replace=False):
        changed = data[:position] + bytes([data[position] ^ (1 << int(rng.integers(8)))]) + data[position + 1 :]
        path.write_bytes(changed)
        step, states = Place(folder).loaded()
        if step:  # white space, or the case of a digit in an escape
            assert states == [{"values": [1, 2.5, "text"]}]
        else:
            (folder / "000000000001.unusable").rename(folder / "000000000001")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": {**IDENTITY, "key": "other"}}, "it is of another training: key 'kkkkkkkk', expected 'other'"),
        ({"identity": {**IDENTITY, "isa": "avx512"}}, "it is of another training: isa 'avx2', expected 'avx512'"),
        ({"identity": {"key": "k" * 8, "isa": "avx2"}}, None),
        ({"identity": {**IDENTITY, "more": 1}}, "it is of another training: more None, expected 1"),
    ],
)
def test_one_of_another_training_is_not_used(folder: Path, change: Any, message: str | None) -> None:
    keep(folder, 7)
    place = Place(folder, **change)
    if message is None:
        assert place.loaded()[0] == 7, "nothing and null are the same"
    else:
        assert place.loaded() == (0, [])
        assert place.said == [f"the checkpoint of step 7 cannot be used and was set aside: {message}"]


def test_one_of_another_version_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(folder, 7)
    monkeypatch.setattr(checkpoint_folder, "SCHEMA", "gsbench.checkpoint/2")
    place = Place(folder)
    assert place.loaded() == (0, [])
    assert "it has the format 'gsbench.checkpoint/1', expected 'gsbench.checkpoint/2'" in place.said[0]


def test_one_that_cannot_be_loaded_is_set_aside_and_leaves_the_randomness_alone(folder: Path) -> None:
    torch.manual_seed(1)
    keep(folder, 7)
    torch.manual_seed(2)
    expected = torch.get_rng_state()

    def load(state: Any) -> None:
        torch.rand(5)
        raise KeyError("momentum")

    place = Place(folder)
    assert place.resume(load) == 0
    assert torch.equal(torch.get_rng_state(), expected)
    assert (place.resumed, place.earlier_seconds) == (0, 0.0)
    assert place.said == ["the checkpoint of step 7 cannot be used and was set aside: KeyError: 'momentum'"]
    assert Place(folder).loaded() == (0, [])


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()])
def test_a_checkpoint_is_not_to_blame_for_everything(folder: Path, error: BaseException) -> None:
    keep(folder, 7)

    def load(state: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        Place(folder).resume(load)
    assert Place(folder).loaded()[0] == 7


# Writing.


def test_what_is_written_is_on_the_disk_before_it_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of events is that of a crash-safe replacement."""
    events: list[str] = []
    sync, rename, rmtree = _files.sync, Path.rename, shutil.rmtree

    def shown(path: Path) -> str:
        name = path.relative_to(folder.parent).as_posix()
        return "/".join("TMP" if part.startswith(".tmp-") else part for part in name.split("/"))

    def note(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            events.append(" ".join([what, shown(path), *[shown(a) for a in arguments]]))
            return function(path, *arguments, **options)

        return call

    keep(folder, 1)
    monkeypatch.setattr(_files, "sync", note("sync", sync))
    monkeypatch.setattr(Path, "rename", note("rename", rename))
    monkeypatch.setattr(shutil, "rmtree", note("remove", rmtree))
    keep(folder, 2)
    assert events == [
        "sync k.checkpoint/TMP/state.safetensors",
        "sync k.checkpoint/TMP/checkpoint.json",
        "sync k.checkpoint/TMP",
        "rename k.checkpoint/TMP k.checkpoint/000000000002",
        "sync k.checkpoint",
        "sync .",
        "rename k.checkpoint/000000000001 k.checkpoint/TMP",
        "remove k.checkpoint/TMP",
    ]


@pytest.mark.parametrize("where", ["write_tensors", "sync", "rename"])
def test_a_full_disk_costs_the_checkpoint_only(folder: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    keep(folder, 1)
    place = Place(folder)
    target: Any = {"write_tensors": checkpoint_folder, "sync": _files, "rename": Path}[where]
    monkeypatch.setattr(target, where, full)
    for step in (2, 3):
        place.offer(step, 100, lambda: {"x": torch.ones(3)})
    monkeypatch.undo()
    assert place.said == [f"no checkpoint could be written: No space left on device ({folder}); training goes on"]
    assert names(folder) == ["000000000001"], "what was there stays, and nothing half-written"
    place.offer(4, 100, dict)
    assert names(folder) == ["000000000004"], "once there is room again, there are checkpoints again"


def test_leftovers_of_a_killed_writer_are_removed(folder: Path) -> None:
    keep(folder, 1)
    (folder / ".tmp-1234").mkdir()
    (folder / ".tmp-1234" / "state.safetensors").write_bytes(b"half")
    assert Place(folder).loaded()[0] == 1
    keep(folder, 2)
    assert names(folder) == ["000000000002"]


def test_a_folder_that_vanishes_is_made_again(folder: Path) -> None:
    place = keep(folder, 1)
    shutil.rmtree(folder.parent)
    place.offer(2, 100, dict)
    assert Place(folder).loaded()[0] == 2


def test_a_place_that_is_no_folder(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("")
    place = keep(folder, 1)
    assert "File exists" in place.said[0]
    assert place.loaded() == (0, [])


def test_notes_are_in_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(folder, 1)
    damage(folder / "000000000001", "state.safetensors cut")
    with caplog.at_level(logging.INFO):
        Place(folder).loaded()
        keep(folder, 2)
        Place(folder).loaded()
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]
    assert "step 1 cannot be used" in caplog.records[0].getMessage()
    assert caplog.records[1].getMessage() == "resuming at step 2 of 100"
