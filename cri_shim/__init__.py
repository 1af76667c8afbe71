"""cri-shim: a CRI runtime.v1 server over an OCI runtime and conmon.

Floors, top to bottom: the edges (`api`, `streaming`), the verbs (`pods`), what the verbs drive
(`images`, `network`, `runtime`, `stats`, `admission`, `store`), pure documents and protocols
(`oci`, `wire`), plain values (`model`), Linux (`host`), generated stubs (`pb`). Imports point
down; only `daemon` builds things and passes them in.
"""
