"""An instrument's control script that acts on what samstar finds, as it finds it.

    samstar deploy --source sim:particles --feed 8765 -o out
    python follow_the_feed.py http://127.0.0.1:8765 --least-particles 20 --least-score 0.3

Needs nothing but Python. For every frame it decides what the microscope should do next; replace
`act` by your instrument's commands. If the run listens beyond this machine, its token goes into the
environment as SAMSTAR_TOKEN.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

RETRY_S = 2.0
# an idle feed is silent; longer than this the connection is taken for dead
TIMEOUT_S = 60.0


def decide(record: dict[str, Any], least_particles: int, least_score: float) -> str:
    """What to do after a frame: wait, refocus, move, or acquire.

    Parameters
    ----------
    record : dict
        A line of the feed: an event, or a frame with score, terms, settings and particles.
    least_particles : int
        Fields with fewer are left.
    least_score : float
        Below it the segmentation is not believed.
    """
    if "event" in record:
        return f"wait: {record['message']}"
    if record["score"] < least_score:
        return f"refocus: the segmentation scores {record['score']:.2f} only"
    if record["n_particles"] < least_particles:
        return f"move on: {record['n_particles']} particles are too few"
    particles = record["particles"]
    unit = "nm" if "equivalent_diameter_area_nm" in particles else "px"
    diameters = particles.get("equivalent_diameter_area_nm", particles["equivalent_diameter_area"])
    largest = max(range(len(diameters)), key=diameters.__getitem__)
    x, y = particles["centroid-1"][largest], particles["centroid-0"][largest]
    return (
        f"acquire a spectrum at x = {x:.0f} px, y = {y:.0f} px: the largest of {len(diameters)} "
        f"particles, {diameters[largest]:.1f} {unit}"
    )


def act(frame: str, action: str) -> None:
    """Tell the instrument; here: the console."""
    print(f"{frame}: {action}", flush=True)


def lines(address: str, token: str | None) -> Iterator[dict[str, Any]]:
    """The feed's records as they come, from now on."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{address}/frames", headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as feed:
        for line in feed:
            yield json.loads(line)


def follow(address: str, token: str | None = None) -> Iterator[dict[str, Any]]:
    """The feed's records, through restarts of the run; ends when the run refuses the token."""
    while True:
        try:
            yield from lines(address, token)
            print("the run has ended; waiting for the next one", flush=True)
        except urllib.error.HTTPError as error:
            if error.code == 403:
                raise SystemExit("the feed demands a token: set SAMSTAR_TOKEN") from error
        except OSError as error:
            print(f"the feed is away ({error}); asking again", flush=True)
        time.sleep(RETRY_S)


def main() -> None:
    """Follow the feed until it is stopped."""
    parser = argparse.ArgumentParser(description="Act on what samstar finds.")
    parser.add_argument("address", help="of the feed, such as http://127.0.0.1:8765")
    parser.add_argument("--least-particles", type=int, default=10)
    parser.add_argument("--least-score", type=float, default=0.3)
    parser.add_argument("--frames", type=int, help="end after so many frames")
    asked = parser.parse_args()
    n_frames = 0
    for record in follow(asked.address.rstrip("/"), os.environ.get("SAMSTAR_TOKEN")):
        act(str(record.get("frame")), decide(record, asked.least_particles, asked.least_score))
        n_frames += "score" in record
        if n_frames == asked.frames:
            return


if __name__ == "__main__":
    main()
