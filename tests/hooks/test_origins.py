"""Where a method comes from: its class, its distribution, and the digest of that distribution's code."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gsbench.errors import PluginError, UsageError
from gsbench.hooks import distribution_digest, method_class, method_origin
from gsbench.testing import write_distribution

MODULES = {
    "acme/__init__.py": "",
    "acme/plugin.py": "GSBENCH_API = 1\n",
    "acme/deep/er/code.py": "x = 'ü'\n",
    "acme/data.json": "{}",
    "acme/tests/test_it.py": "def test(): pass\n",
    "acme/testing/__init__.py": "# not a folder of tests\n",
}
COUNTED = ["acme/__init__.py", "acme/deep/er/code.py", "acme/plugin.py", "acme/testing/__init__.py"]


def digest_of(files: dict[str, bytes]) -> str:
    """The definition, written out: files in the order of their names, each as name, NUL, size, NUL, content."""
    whole = b"".join(f"{name}\0{len(data)}\0".encode() + data for name, data in sorted(files.items()))
    return hashlib.sha256(whole).hexdigest()


EXPECTED = digest_of({name: MODULES[name].encode() for name in COUNTED})


def write_sources(folder: Path, modules: dict[str, str]) -> None:
    for name, text in modules.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def write_editable(site: Path, name: str, sources: Path, entry_points: dict[str, str] | None) -> None:
    """What ``pip install -e`` leaves in site-packages: metadata and an import hook, no modules."""
    hook = f"__editable___{name.replace('-', '_')}_finder.py"
    info = write_distribution(site, name, {hook: "# the import hook\n"}, entry_points=entry_points)
    (info / "direct_url.json").write_text(json.dumps({"url": sources.as_uri(), "dir_info": {"editable": True}}))


def test_the_digest_of_a_wheel_covers_its_python_files(plugin_folder: Any) -> None:
    write_distribution(plugin_folder.path, "acme", MODULES, entry_points={"acme": "acme.plugin"})
    importlib.invalidate_caches()
    assert distribution_digest("acme") == EXPECTED
    (plugin_folder.path / "acme/data.json").write_text("[]")
    (plugin_folder.path / "acme/tests/test_it.py").write_text("")
    (plugin_folder.path / "acme/__pycache__").mkdir()
    (plugin_folder.path / "acme/__pycache__/plugin.cpython-311.pyc").write_bytes(b"x")
    (plugin_folder.path / "another_distribution.py").write_text("y = 2")
    assert distribution_digest("acme") == EXPECTED
    (plugin_folder.path / "acme/deep/er/code.py").write_text("x = 2\n")
    assert distribution_digest("acme") != EXPECTED


def test_an_editable_install_has_the_digest_of_the_wheel(
    plugin_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "a project" / "src"
    write_sources(sources, MODULES)
    write_sources(sources, {"acme/__pycache__/left.py": "", "setup.py": "", "tests/test_all.py": ""})
    write_editable(plugin_folder.path, "acme", sources.parent, {"acme": "acme.plugin"})
    monkeypatch.syspath_prepend(sources)
    assert distribution_digest("acme") == EXPECTED


def test_the_sources_of_a_namespace_package_are_told_apart(
    plugin_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        write_sources(tmp_path / name, {f"shared_space/{name}/plugin.py": f"name = {name!r}\n"})
        write_editable(plugin_folder.path, f"ns-{name}", tmp_path / name, {"e": f"shared_space.{name}.plugin"})
        monkeypatch.syspath_prepend(tmp_path / name)
    assert distribution_digest("ns-one") == digest_of({"shared_space/one/plugin.py": b"name = 'one'\n"})
    assert distribution_digest("ns-two") == digest_of({"shared_space/two/plugin.py": b"name = 'two'\n"})


def test_an_editable_single_module_is_found_through_what_it_registered(
    plugin_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gsbench import registry

    write_sources(tmp_path / "src", {"lonely.py": "class Method: pass\n"})
    write_editable(plugin_folder.path, "lonely-dist", tmp_path / "src", None)
    monkeypatch.syspath_prepend(tmp_path / "src")
    with pytest.raises(PluginError, match="none of its Python files can be found"):
        distribution_digest("lonely-dist")
    registry.entropy_coders.register("lonely", "lonely:Method", "lonely_dist")
    try:
        assert distribution_digest("lonely-dist") == digest_of({"lonely.py": b"class Method: pass\n"})
    finally:
        registry.entropy_coders.unregister("lonely")


def test_the_core_as_installed_here(repository: Path) -> None:
    """Whatever the install is, the digest is that of the sources that are imported."""
    import gsbench

    package = Path(gsbench.__file__).parent
    files = {
        f"gsbench/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert len(files) > 20
    assert distribution_digest("gsbench-core") == digest_of(files)


def test_the_digest_of_nothing_is_an_error(plugin_folder: Any) -> None:
    with pytest.raises(PluginError, match="'never-installed' is not installed"):
        distribution_digest("never-installed")
    with pytest.raises(PluginError, match="'' is not installed"):
        distribution_digest("")
    write_distribution(plugin_folder.path, "acme", MODULES, entry_points={"acme": "acme.plugin"})
    importlib.invalidate_caches()
    (plugin_folder.path / "acme/plugin.py").unlink()
    with pytest.raises(PluginError, match=r"acme/plugin\.py cannot be read"):
        distribution_digest("acme")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="builds with setuptools, which is missing")
def test_pip_installs_have_one_digest(tmp_path: Path) -> None:
    """A wheel and an editable install made by pip and setuptools, in folders of their own."""
    project = tmp_path / "project"
    write_sources(project, {f"src/{name}": text for name, text in MODULES.items()})
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "acme"\nversion = "1.0"\n[project.entry-points.gsbench]\nacme = "acme.plugin"\n'
    )
    found = []
    for arguments in ([], ["--editable"]):
        prefix = tmp_path / f"prefix{len(arguments)}"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--prefix"]
        subprocess.run([*pip, str(prefix), *arguments, str(project)], check=True, timeout=300)
        (site,) = prefix.glob("lib*/python*/site-packages")
        code = f"import site; site.addsitedir({str(site)!r}); from gsbench.hooks import distribution_digest as d"
        output = subprocess.run(
            [sys.executable, "-c", f"{code}; print(d('acme'))"],
            cwd=project,  # where a stray egg-info lies about
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        )
        found.append(output.stdout.strip())
    assert found == [EXPECTED, EXPECTED]


PLUGIN = """
import gsbench
GSBENCH_API = 1

@gsbench.hookimpl
def gsbench_methods():
    return [gsbench.MethodSpec(name.lower(), f"sample_dist.code:{name}", "s")
            for name in ("Good", "Missing", "NotMethod", "Abstract", "NoConfig", "NoModel")]
"""

CODE = """
import dataclasses
import gsbench

@dataclasses.dataclass
class Config:
    pass

class Model(gsbench.Model):
    def render(self, camera, background): ...
    def state(self): ...
    @classmethod
    def from_state(cls, state, config): ...

class NoConfig(gsbench.Method):
    model_class = Model
    def fit(self, scene, config, context): ...
    def encode(self, model, config, out, context): ...
    @classmethod
    def decode(cls, artifact, context): ...

class Good(NoConfig):
    Config = Config

class NoModel(Good):
    model_class = None

class Abstract(gsbench.Method):
    Config = Config
    model_class = Model
    def fit(self, scene, config, context): ...

class NotMethod:
    pass
"""


@pytest.fixture
def sample(plugin_folder: Any) -> str:
    plugin_folder.install("sample-dist", PLUGIN, files={"code.py": CODE}, version="3.1")
    assert plugin_folder.load()["sample-dist"].status == "ok"
    return "sample-dist"


def test_the_class_and_the_origin_of_a_method(sample: str) -> None:
    cls = method_class("good")
    assert (cls.__module__, cls.__name__) == ("sample_dist.code", "Good")
    assert method_origin("good") == (sample, "3.1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "'sample_dist.code:Missing' cannot be imported: AttributeError"),
        ("notmethod", "sample_dist.code:NotMethod is not a subclass of gsbench.Method"),
        ("abstract", "sample_dist.code:Abstract does not implement decode, encode"),
        ("noconfig", "sample_dist.code:NoConfig.Config is not a dataclass"),
        ("nomodel", "sample_dist.code:NoModel.model_class is not a subclass of gsbench.Model"),
    ],
)
def test_an_incomplete_class_is_refused_with_its_distribution(sample: str, name: str, reason: str) -> None:
    with pytest.raises(PluginError) as caught:
        method_class(name)
    assert str(caught.value).startswith(f"method {name!r} of sample-dist: ")
    assert reason in str(caught.value)


def test_unknown_methods(sample: str) -> None:
    for function in (method_class, method_origin):
        with pytest.raises(UsageError, match="unknown method 'goood'; did you mean 'good'"):
            function("goood")


def test_the_origin_of_a_method_that_no_distribution_supplies() -> None:
    from gsbench import registry
    from gsbench.methods import MethodSpec

    registry.methods.register("by-hand", MethodSpec("by-hand", "a:B", "s"), "my notebook")
    try:
        with pytest.raises(PluginError, match="'my notebook' is not installed"):
            method_origin("by-hand")
    finally:
        registry.methods.unregister("by-hand")
