"""Client of the pod admission contract `berth.admission.v1`; who serves it is not known here."""
