"""What the conformance tests of one method share: the trained model and its artifacts, each made once, when needed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from gsbench import registry
from gsbench.artifact import ArtifactWriter, inspect_artifact, open_artifact
from gsbench.bench.model_files import save_state
from gsbench.bench.settings import build_config, resolve_config
from gsbench.errors import GsbenchError, SceneError
from gsbench.hooks import load_plugins, method_class, method_origin
from gsbench.methods import Context, Method, MethodSpec, Model, Renderable
from gsbench.native.watch import OpenWatch
from gsbench.scenes import Scene, SceneOptions, SceneRef, View, load_scene
from gsbench.splats import Camera, Splats
from gsbench.testing.child import repeatable
from gsbench.testing.damage import Damage
from gsbench.testing.interruption import Interrupted, Interruption
from gsbench.testing.samples import write_scene
from gsbench.training.checkpoint import Checkpoints, NoCheckpoints

#: What a decoder of a tiny artifact may take, in bytes, beyond what the process has after its imports.
_EXTRA_MEMORY: Final = 2 << 30


class Case:
    """A method under test.

    Args:
        method: its name.
        settings: overrides of its Config, on top of the default rate point.
        iterations: training steps.
        scene: the scene, with its held-out views. One that is not on disk is written to `folder`, so that methods find
            what they find in a run: files.
        base: Gaussians for methods that have a base.
        folder: an empty folder for everything that is written.
        timeout: seconds that a fresh process may take.
        scene_folder: where the scene's files are, if it is on disk.
    """

    def __init__(
        self,
        method: str,
        settings: Mapping[str, Any],
        iterations: int | None,
        scene: Scene,
        base: Splats | None,
        folder: Path,
        timeout: float,
        scene_folder: Path | None = None,
    ) -> None:
        self.method = method
        self.settings = settings
        self.iterations = iterations
        self.base = base
        self.folder = folder
        self.timeout = timeout
        self._count = 0
        self._doing = ""
        self._touched: dict[str, set[str]] = {}
        self.scene, self._scene_folder = scene, scene_folder
        if scene_folder is None:
            self._write_scene()

    def _write_scene(self) -> None:
        """Let the scene be one on disk, if it is the same then (masks and other splits are not written)."""
        folder = self.new_folder("scene") / self.scene.name
        with contextlib.suppress(GsbenchError, OSError, ValueError):
            write_scene(self.scene, folder)
            loaded = load_scene(SceneRef("path", self.scene.name, folder), SceneOptions(protocol=self.scene.protocol))
            if [_stem(view) for view in loaded.test] == [_stem(view) for view in self.scene.test]:
                self.scene, self._scene_folder = loaded, folder

    def touched(self, what: str) -> list[str]:
        """Held-out photographs that were opened during "fit" or "encode", by name."""
        return sorted(self._touched.get(what, ()))

    @cached_property
    def held_out_files(self) -> dict[str, Path]:
        """The files of held-out photographs, by name of the view; empty if the scene is not on disk."""
        if self._scene_folder is None:
            return {}
        by_name: dict[str, Path] = {}
        for path in self._scene_folder.rglob("*"):
            if path.is_file():
                relative = path.relative_to(self._scene_folder)
                # The name of a view is that of its file in the folder of photos, with or without its ending.
                for start in range(len(relative.parts)):
                    name = Path(*relative.parts[start:])
                    by_name.setdefault(name.as_posix(), path)
                    by_name.setdefault(name.with_suffix("").as_posix(), path)
        return {view.name: by_name[view.name] for view in self.scene.test if view.name in by_name}

    @contextlib.contextmanager
    def _watched(self, what: str) -> Iterator[None]:
        """Note which held-out photographs are opened, through the scene or as files, by whatever process."""
        names = {path: name for name, path in self.held_out_files.items()}
        seen = self._touched.setdefault(what, set())
        before, self._doing = self._doing, what
        watch = OpenWatch(names)
        try:
            with watch:
                yield
        finally:
            self._doing = before
            seen.update(names[path] for path in watch.opened)

    @cached_property
    def spec(self) -> MethodSpec:
        """The method as its plugin announces it."""
        load_plugins()
        spec: MethodSpec = registry.methods.get(self.method)
        return spec

    @cached_property
    def cls(self) -> type[Method]:
        """The method's class."""
        return method_class(self.method)

    @cached_property
    def config_json(self) -> dict[str, Any]:
        """The resolved Config as plain JSON."""
        rate = self.spec.rate("default")
        return resolve_config(self.method, self.cls.Config, {**rate.settings, **self.settings}, [])

    @property
    def config(self) -> Any:
        """A new Config object."""
        return build_config(self.cls.Config, self.config_json)

    def new_folder(self, name: str) -> Path:
        """An empty folder."""
        self._count += 1
        path = self.folder / f"{self._count:02d}-{name}"
        path.mkdir(parents=True)
        return path

    def context(self, *, base: Splats | None = None, checkpoint: Checkpoints | None = None) -> Context:
        """A context with a new working directory; decoding has no `base`."""
        return Context(
            device=torch.device("cpu"),
            threads=1,
            seed=0,
            workdir=self.new_folder("work"),
            iterations=self.iterations,
            base=base,
            checkpoint=checkpoint if checkpoint is not None else NoCheckpoints(),
        )

    @cached_property
    def guarded_scene(self) -> Scene:
        """The scene, its held-out photographs replaced by ones that note being asked for, and fail."""
        return replace(self.scene, test=[self._guarded(view) for view in self.scene.test])

    def _guarded(self, view: View) -> View:
        def load() -> npt.NDArray[np.uint8]:
            self._touched.setdefault(self._doing, set()).add(view.name)
            raise SceneError(f"the image of held-out view {view.name!r} is not available here")

        return replace(view, load_image=load)

    @property
    def model(self) -> Model:
        """The method trained on the scene, in this process. An error of `fit` comes again each time it is asked for."""
        if isinstance(self._fitted, Exception):
            raise self._fitted
        return self._fitted

    @cached_property
    def _fitted(self) -> Model | Exception:
        try:
            return self.fit_again(self._offered)
        except Exception as error:
            return error

    @cached_property
    def _offered(self) -> Interruption:
        """What the method offered to checkpoints while it was trained without interruption."""
        return Interruption(self.new_folder("unused"), half_of=None)

    def fit_again(self, checkpoint: Checkpoints | None = None) -> Model:
        """The method trained on the scene, in this process."""
        context = self.context(base=self._base, checkpoint=checkpoint)
        with repeatable(0), self._watched("fit"):
            return self.cls().fit(self.guarded_scene, self.config, context)

    @cached_property
    def resumed(self) -> tuple[Model, int, int] | None:
        """The method trained with an interruption in the middle: the model, after which step, and of how many steps.
        None if it keeps no checkpoints.
        """
        _ = self.model
        total = self._offered.total
        if total < 2:
            return None
        folder = self.new_folder("checkpoints")
        second = Interruption(folder, half_of=total)
        try:
            self.fit_again(second)
        except Interrupted:
            pass
        else:
            raise AssertionError("fit goes on after context.checkpoint raised an exception that ends the process")
        third = Interruption(folder, half_of=None)
        model = self.fit_again(third)
        assert third.resumed_at == second.stopped_at, (
            f"fit offers its state to context.checkpoint, but went on at step {third.resumed_at} and not at "
            f"{second.stopped_at}: it does not call context.checkpoint.resume, or its `load` raised"
        )
        return model, second.stopped_at, total

    @property
    def _base(self) -> Splats | None:
        return self.base if self.spec.base is not None else None

    @cached_property
    def state(self) -> Path:
        """The trained model, saved."""
        folder = self.new_folder("state")
        save_state(self.model.state(), folder)
        return folder

    @cached_property
    def _base_state(self) -> Path | None:
        if self._base is None:
            return None
        folder = self.new_folder("base")
        save_state(vars(self._base), folder)
        return folder

    def encode_here(self, model: Model) -> bytes:
        """`model` encoded in this process."""
        path = self.new_folder("encoded") / f"artifact{self.spec.suffix}"
        watched = self._watched("encode")
        with repeatable(0), watched, ArtifactWriter(path, self.method, self.version) as out:
            self.cls().encode(model, self.config, out, self.context(base=self._base))
        return path.read_bytes()

    @cached_property
    def version(self) -> str:
        """Version of the method's distribution."""
        return method_origin(self.method)[1]

    @cached_property
    def artifact(self) -> Path:
        """The saved model, encoded by a fresh process with one thread."""
        return self.encode_afresh(threads=1, hash_seed=1)

    def encode_afresh(self, *, threads: int, hash_seed: int) -> Path:
        """The saved model, encoded by a fresh process into a folder of its own.

        Args:
            threads: CPU threads of that process.
            hash_seed: seed of Python's hashes there: the order of sets of strings depends on it.
        """
        path = self.new_folder("encoded") / f"artifact{self.spec.suffix}"
        base = self._base_state
        request = {
            "state": str(self.state),
            "base": None if base is None else str(base),
            "config": self.config_json,
            "artifact": str(path),
        }
        with self._watched("encode"):
            self.run_child("encode", request, threads=threads, variables={"PYTHONHASHSEED": str(hash_seed)})
        return path

    @staticmethod
    def json_bytes(value: Any) -> int:
        """How many bytes a value takes in a header."""
        return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

    @cached_property
    def parts(self) -> list[tuple[str, int]]:
        """Where the artifact's bytes went."""
        return inspect_artifact(self.artifact)

    @cached_property
    def decoded(self) -> Renderable:
        """The artifact, decoded in this process."""
        artifact = self.artifact  # the first to ask for it trains, which needs gradients
        with torch.no_grad():
            return self.cls.decode(open_artifact(artifact, self.method), self.context())

    def render(self, camera: Camera) -> torch.Tensor:
        """The decoded artifact seen from `camera`, over the scene's background."""
        decoded = self.decoded
        with torch.no_grad():
            return decoded.render(camera, self.scene.background)

    def decode_damaged(self, damages: Sequence[Damage]) -> list[str]:
        """What a fresh process makes of each damage: "decoded", "refused", or another error in words.

        Raises:
            AssertionError: if that process dies, or the artifact does not decode undamaged.
        """
        request = {
            "artifact": str(self.artifact),
            "damages": [asdict(damage) for damage in damages],
            "camera": self.scene.train[0].to_json(),
            "extra_memory": _EXTRA_MEMORY,
        }
        results: list[str] = self.run_child(
            "decode-damaged", request, during=["as it is", *map(self.describe, damages)]
        )
        assert results[0] == "decoded", f"the undamaged artifact does not decode: {results[0]}"
        return results[1:]

    def describe(self, damage: Damage) -> str:
        """`damage` in words."""
        return damage.describe(self.parts)

    def run_child(
        self,
        verb: str,
        request: Mapping[str, Any],
        *,
        threads: int = 1,
        variables: Mapping[str, str] | None = None,
        during: Sequence[str] = (),
    ) -> list[Any]:
        """Run a verb of `gsbench.testing.child` in a fresh process and return what it reported.

        Raises:
            AssertionError: if it fails or takes too long; `during` names what each report is about.
        """
        folder = self.new_folder(verb)
        result = folder / "result.jsonl"
        whole = {
            "method": self.method,
            "seed": 0,
            "iterations": self.iterations,
            "threads": threads,
            "workdir": str(folder / "work"),
            "result": str(result),
            **request,
        }
        (folder / "request.json").write_text(json.dumps(whole), encoding="utf-8")
        environment = {**os.environ, **(variables or {}), "OMP_NUM_THREADS": str(threads)}
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
        command = [sys.executable, "-m", "gsbench.testing.child", verb, str(folder / "request.json")]
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self.timeout,
                check=False,
            )
            code = done.returncode
            how = f"ended with signal {-code}" if code < 0 else f"ended with exit status {code}"
            failed, output = code != 0, done.stderr.strip()
        except subprocess.TimeoutExpired:
            how, failed, output = f"took more than {self.timeout:g} s", True, ""
        reports = [json.loads(line) for line in result.read_text().splitlines()] if result.is_file() else []
        if failed:
            doing = f" (an artifact {during[len(reports)]})" if len(reports) < len(during) else ""
            raise AssertionError(f"the process that was to {verb}{doing} {how}\n{output[-4000:]}".rstrip())
        return reports


def _stem(view: View) -> str:
    return Path(view.name).stem
