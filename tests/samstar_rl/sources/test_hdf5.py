from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samstar_rl.sources.readers.registry import FrameReadError, iterate_file, read_frame

h5py = pytest.importorskip("h5py")
IMAGE = np.random.default_rng(0).normal(100, 9, (32, 48)).astype(np.float32)


def write(path: Path, data: dict[str, np.ndarray], **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file.create_dataset(name, data=values).attrs.update(attributes)
    return path


def test_asyncroscopys_images_are_read_by_detector(tmp_path):
    path = write(tmp_path / "a.h5", {"image/HAADF": IMAGE, "image/BF": IMAGE + 1}, fov_m=48e-9)
    frames = list(iterate_file(path))
    np.testing.assert_array_equal([frame.image.mean() > 100.5 for frame in frames], [True, False])
    assert [frame.pixel_size_nm for frame in frames] == [pytest.approx(1.0)] * 2
    (tmp_path / "b.h5").unlink(missing_ok=True)
    assert read_frame(write(tmp_path / "b.h5", {"image": IMAGE})).shape == IMAGE.shape


def test_nsids_channels_are_read_with_their_axes(tmp_path):
    with h5py.File(tmp_path / "n.h5", "w") as file:
        group = file.create_group("Measurement_000/Channel_000/generic")
        stored = group.create_dataset("generic", data=IMAGE)
        stored.attrs["data_type"] = "IMAGE"
        for axis, name in enumerate("yx"):
            scale = group.create_dataset(name, data=0.25e-9 * np.arange(IMAGE.shape[axis]))
            scale.attrs["units"] = "m"
            scale.make_scale(name)
            stored.dims[axis].attach_scale(scale)
    frame = read_frame(tmp_path / "n.h5")
    np.testing.assert_array_equal(frame.image, IMAGE)
    assert frame.pixel_size_nm == pytest.approx(0.25)
    path = write(tmp_path / "twin.h5", {"Channel_000/data": IMAGE}, pixel_size_m=2e-10)
    assert read_frame(path).pixel_size_nm == pytest.approx(0.2)


def test_what_is_no_image_says_what_is_there(tmp_path):
    path = write(tmp_path / "s.h5", {"Channel_000/data": IMAGE}, data_type="SPECTRAL_IMAGE")
    with pytest.raises(FrameReadError, match=r"no image under image/ or Channel_.*\(32, 48\)"):
        read_frame(path)
    (tmp_path / "c.h5").write_bytes(path.read_bytes()[:500])
    with pytest.raises(FrameReadError, match="damaged or still being written"):
        read_frame(tmp_path / "c.h5")
