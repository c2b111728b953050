"""The engine: one job after another, each by ``gsbench job``, as the queue of a cluster would start it."""

import json
import subprocess
import sys

from gsbench.bench.model import JobEvent
from gsbench.bench.store import Store
from gsbench_everything.plugin import note


class AnyEngine:
    def __init__(self, options):
        self.options = options

    def run(self, jobs, on_event):
        for job in jobs:
            note(f"placed {job.method} {job.scene}")
            path = Store(job.out).job_file(job.id, ".json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(job.model_dump_json())
            command = [sys.executable, "-m", "gsbench", "job", str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
            for line in done.stdout.splitlines():
                on_event(JobEvent.model_validate(json.loads(line)))
