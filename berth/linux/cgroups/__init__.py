"""Control groups: v2, v1 and hybrid hosts behind one interface, and both drivers' names.

`detection.detect` returns a `hierarchy.Cgroups`. Paths are relative to the roots of the
hierarchies (`/kubepods/pod1/abc`). What the groups are for does not belong here.
"""
