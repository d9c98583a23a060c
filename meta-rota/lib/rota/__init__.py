# SPDX-License-Identifier: MIT
"""What the layer, Buildroot and the bench know about a board's disk.

Plain Python 3.8 without other modules: the build hosts of both Yocto series and of Buildroot have it.
In metadata these are reachable as ``rota.layout`` and ``rota.derive`` (layer.conf says ``addpylib``).
"""

BBIMPORTS = ["toml", "layout", "derive", "fill"]
