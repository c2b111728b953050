"""The scenes of a leaderboard, where their files are on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from gsbench import registry
from gsbench.errors import GsbenchError, UsageError
from gsbench.hooks import load_plugins
from gsbench.leaderboard.rerun import protocol_options
from gsbench.leaderboard.site.options import SiteOptions
from gsbench.records import Record
from gsbench.scenes import Scene, SceneOptions, SceneRef, load_scene
from gsbench.scenes.spec import PATH_DATASET


@dataclass(frozen=True)
class FoundScene:
    """A scene, or why there is none here.

    Fields:
        scene: loaded under the section's protocol; None if `reason` says why.
        reason: for readers of the page.
    """

    scene: Scene | None
    reason: str = ""


def find_scene(record: Record, options: SiteOptions) -> FoundScene:
    """The scene that `record` is about, if its files are here and are those that the record's hash is of."""
    folder = options.scene_folders.get(record.scene)
    if record.dataset == PATH_DATASET and folder is None:
        return FoundScene(None, "the scene is a folder of somebody's own, which was not given when this page was made")
    load_plugins()
    changes = protocol_options(record.protocol)
    if changes is None:
        return FoundScene(None, f"the protocol {record.protocol.id} is not known where this page was made")
    try:
        chosen = SceneOptions(
            protocol=registry.protocols.get(changes.protocol),
            images=changes.images,
            downscale=changes.downscale,
            max_width=changes.max_width,
            background=changes.background,
        )
        ref = SceneRef(record.dataset, record.scene, folder if record.dataset == PATH_DATASET else None)
        scene = load_scene(ref, chosen)
    except (GsbenchError, OSError) as error:
        # The message may name folders of this machine, which mean nothing to readers.
        kind = "cannot be read" if not isinstance(error, UsageError) else "is not known"
        return FoundScene(None, f"the scene {kind} on the machine where this page was made")
    if scene.protocol.hash != record.protocol.hash:
        return FoundScene(None, f"the protocol {record.protocol.id} is defined otherwise where this page was made")
    if record.scene_hash is not None and scene.hash != record.scene_hash:
        return FoundScene(None, "the scene's files on the machine where this page was made differ from the record's")
    return FoundScene(scene)
