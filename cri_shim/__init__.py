"""cri-shim: a CRI runtime.v1 server over an OCI runtime and conmon.

Layers, top to bottom: the edges (`api`, `streaming`), the verbs (`verbs`, `checkpoint`; `recovery`
finishes what they began), what pods and containers consist of (`container`, `sandbox`), what goes
on beside the calls (`upkeep`), what all of these drive (`images`, `network`, `runtime`, `stats`,
`admission`, `store`), pure documents and protocols (`oci`, `wire`), plain values (`model`). Imports
point down, packages on one layer do not see each other, and only `daemon` builds things and passes
them in. Linux and the generated stubs are in `berth`.
"""
