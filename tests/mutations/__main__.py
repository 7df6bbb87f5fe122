"""
Sessions of an exchange that misbehaves.

    python -m tests.mutations --first 0 --count 10000
"""

import click

from tests.mutations.session import Session


@click.command(help=__doc__)
@click.option("--first", type=int, default=0, show_default=True)
@click.option("--count", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True)
def main(first: int, count: int) -> None:
    """Run them, and print how many failed and the first failure."""
    failures: list[str] = []
    for seed in range(first, first + count):
        try:
            Session(seed).run()
        except AssertionError as failure:
            failures.append(str(failure))
    click.echo(f"{count} sessions, {len(failures)} failed")
    if failures:
        click.echo(min(failures, key=len))
        raise SystemExit(1)


if __name__ == "__main__":
    main()
