"""``gsbench job``: one job of a run, in a process of its own. Engines start it; people need not."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("job", hidden=True)
@click.argument("description", type=click.Path(path_type=Path), metavar="JOB.json")
@click.option("--lifeline", is_flag=True, help="End when standard input is closed.")
def command(description: Path, lifeline: bool) -> int:
    """Run the stages of the job that JOB.json describes."""
    from gsbench.bench import job

    return job.main(description, lifeline=lifeline)
