"""The Debian package, and others like it."""

import pathlib
import shutil
import subprocess
import tempfile

from debian import ROOT, TARGET, install, quietly, step

CARGO_DEB = "cargo-deb@3.8.0"
# Not where a package is that somebody wants to install.
PACKAGES = TARGET / "machine/packages"


def build(*options):
    """Builds the package. The options are those of packaging/deb/build."""
    install("dpkg-dev")
    if not shutil.which("cargo-deb"):
        with step("cargo-deb, which takes some minutes"):
            quietly("cargo", "install", "--locked", "--quiet", CARGO_DEB)
    PACKAGES.mkdir(parents=True, exist_ok=True)
    command = [ROOT / "packaging/deb/build", "--fast", f"--output={PACKAGES}", *options]
    with step("packaging/deb/build"):
        # Its last line is the path of the package.
        said = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(said.stdout.splitlines()[-1])


def another(package, version, change=lambda root: None):
    """The same as another version, whose files have been changed beside; its program differs from the old one in any case."""
    made = PACKAGES / f"shaveet_{version}_amd64.deb"
    with tempfile.TemporaryDirectory(prefix="package-") as folder:
        root = pathlib.Path(folder) / "root"
        quietly("dpkg-deb", "--raw-extract", package, root)
        control = root / "DEBIAN/control"
        old = next(line for line in control.read_text().splitlines() if line.startswith("Version: "))
        control.write_text(control.read_text().replace(old, f"Version: {version}"))
        with open(root / "usr/bin/shaveet", "ab") as program:
            program.write(f"\n{version}\n".encode())  # behind all sections: nobody reads it
        (root / "DEBIAN/md5sums").unlink(missing_ok=True)
        change(root)
        quietly("dpkg-deb", "-Znone", "--root-owner-group", "--build", root, made)
    return made
