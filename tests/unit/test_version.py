"""There is one version: the package's, which the build reads."""

from pathlib import Path

import pytest

import durable_lite

ROOT = Path(__file__).parents[2]


def test_a_build_has_the_version_of_the_package():
    pytest.importorskip("hatchling")
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    assert ProjectMetadata(str(ROOT), PluginManager()).version == durable_lite.__version__
