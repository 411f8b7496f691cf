"""Which folder is which package. Everything else about the build stands in pyproject.toml.

The three source folders lie side by side, and the installed packages nest. `setup` learns it here, and not
from the symlinks jitgrad/ir and jitgrad/codegen, which do the same for a Python started at the root of
the repository: an unpacked sdist has no links, and a Windows checkout has plain files in their place.
"""

from setuptools import find_packages, setup

FOLDERS = {"jitgrad": "jitgrad", "jitgrad.ir": "ir", "jitgrad.codegen": "codegen"}

setup(
    package_dir=FOLDERS,
    # A set, because a walk of jitgrad/ also finds jitgrad.ir where the links are links.
    packages=sorted({*FOLDERS} | {f"{p}.{sub}" for p, top in FOLDERS.items() for sub in find_packages(top)}),
    package_data={"jitgrad": ["py.typed"]},
    include_package_data=False,  # what MANIFEST.in names is for the sdist
)
