"""The fresh processes of `MethodConformance`: ``python -m gsbench.testing.child VERB REQUEST.json``.

The verbs list plugins, encode a saved model, and decode many damaged versions of an artifact. Results go to the
file that the request names, one JSON value per line, flushed as they come: what a process did before it died is known.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final


def _list(request: dict[str, Any], report: Callable[[Any], None]) -> None:
    """Which modules listing the method imported, and the distribution that has it."""
    from gsbench import registry
    from gsbench.hooks import load_plugins

    load_plugins()
    origin = registry.methods.entry(request["method"]).origin
    report({"torch": "torch" in sys.modules, "origin": origin})


def _encode(request: dict[str, Any], report: Callable[[Any], None]) -> None:
    """Encode the model saved in ``state`` to ``artifact``."""
    from gsbench.artifact import ArtifactWriter
    from gsbench.bench.model_files import load_state
    from gsbench.bench.settings import build_config
    from gsbench.hooks import method_class, method_origin
    from gsbench.splats import Splats

    cls = method_class(request["method"])
    base = None if request["base"] is None else Splats(**load_state(Path(request["base"])))
    context = _context(request, base)
    config = build_config(cls.Config, request["config"])
    model = cls.model_class.from_state(load_state(Path(request["state"]), context.device), config)
    _, version = method_origin(request["method"])
    with repeatable(request["seed"]), ArtifactWriter(request["artifact"], request["method"], version) as out:
        cls().encode(model, config, out, context)
    report({"encoded": True})


def _decode_damaged(request: dict[str, Any], report: Callable[[Any], None]) -> None:
    """Decode the artifact once as it is and once per damage: "decoded", "refused", or the error that came instead."""
    import torch

    from gsbench.artifact import open_artifact
    from gsbench.errors import ArtifactError
    from gsbench.hooks import method_class
    from gsbench.splats import Camera
    from gsbench.testing.damage import Damage

    cls = method_class(request["method"])
    context = _context(request)
    data = Path(request["artifact"]).read_bytes()
    camera = Camera.from_json(request["camera"])
    _limit_memory(request["extra_memory"])
    path = context.workdir / f"damaged{Path(request['artifact']).suffix}"
    for values in [None, *request["damages"]]:
        path.write_bytes(data if values is None else Damage(**values).apply(data))
        try:
            with torch.no_grad():
                _show(cls.decode(open_artifact(path, request["method"]), context), camera)
            report("decoded")
        except ArtifactError:
            report("refused")
        except (Exception, SystemExit) as error:
            report(f"{type(error).__name__}: {error}")


def _show(decoded: Any, camera: Any) -> None:
    """Use what was decoded: damage may come to light only then."""
    import torch

    decoded.render(camera, torch.zeros(3))


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed the global generators as the stages of a job do, and put them back afterwards."""
    import random

    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _context(request: dict[str, Any], base: Any = None) -> Any:
    import torch

    from gsbench.methods import Context

    torch.set_num_threads(request["threads"])
    workdir = Path(request["workdir"])
    workdir.mkdir(parents=True)
    return Context(
        device=torch.device("cpu"),
        threads=request["threads"],
        seed=request["seed"],
        workdir=workdir,
        iterations=request["iterations"],
        base=base,
    )


def _limit_memory(extra: int) -> None:
    """Make an allocation of more than `extra` bytes fail, where the system can: lengths are to be checked first."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    limit = pages * resource.getpagesize() + extra
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


_VERBS: Final[dict[str, Callable[[dict[str, Any], Callable[[Any], None]], None]]] = {
    "list": _list,
    "encode": _encode,
    "decode-damaged": _decode_damaged,
}


def main(verb: str, path: str) -> None:
    """Do what the request file at `path` says."""
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    with Path(request["result"]).open("w", encoding="utf-8") as results:

        def report(value: Any) -> None:
            results.write(json.dumps(value) + "\n")
            results.flush()

        _VERBS[verb](request, report)


if __name__ == "__main__":
    main(*sys.argv[1:])
