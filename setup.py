"""All but the packages stands in setup.cfg, which cannot say where one of them lies."""

from setuptools import find_packages, setup

# In a clone configs/ is a folder of its own, for people to read and change; a wheel carries it as
# part of the package, so that --config=NAME works where there is no clone.
setup(
    packages=[*find_packages(include=["spotting*"]), "spotting.configs"],
    package_dir={"spotting.configs": "configs"},
)
