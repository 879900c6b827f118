"""The entry point of the installed program: Ctrl-C is answered before anything else is imported."""

from __future__ import annotations

from samstar_rl.scripts._shared.interrupt import quit_on_interrupt


def main() -> None:
    """Run `samstar`."""
    quit_on_interrupt()
    from samstar_rl.scripts._shared.cli import main as run

    run()


if __name__ == "__main__":
    main()
