"""Client of the pod admission contract `berth.admission.v1`; what serves it is not known here."""
