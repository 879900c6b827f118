"""`samstar validate`."""

import json


def test_it_tells_what_choosing_the_gaze_by_score_costs(samstar, small_task, tmp_path) -> None:
    out = tmp_path / "validity"
    result = samstar(
        *("validate", small_task, "--gaze", "--n-frames", 1, "--settings", 8, "--size", 128),
        *("-o", out),
    )
    assert result.exit_code == 0, result.output
    assert "F1 lost by choosing the gaze by score" in result.output
    figures = json.loads((out / "validity.json").read_text())
    assert 0 <= figures["gaze"]["lost_f1"] <= 1
    assert figures["n_frames"] == 1 and figures["n_settings"] == 8
    assert (out / "validity.png").exists() and (out / "worst.png").exists()
