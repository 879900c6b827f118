"""What the package offers by its own name, and that asking for it is cheap."""

import subprocess
import sys

import pytest

import samstar_rl


@pytest.mark.parametrize("name", samstar_rl.__all__)
def test_every_public_name_is_there(name):
    assert getattr(samstar_rl, name).__name__ == name


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="nope"):
        _ = samstar_rl.nope


def test_importing_the_package_imports_no_torch():
    code = "import sys, samstar_rl; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
