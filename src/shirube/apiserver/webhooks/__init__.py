"""Admission that calls out: MutatingWebhookConfiguration and ValidatingWebhookConfiguration.

`configurations` turns stored configurations into `Hook`s, `matching` says whether a write concerns one,
`review` writes the AdmissionReview and reads the answer, `calling` carries it there and back, and the two plugins
`mutating` and `validating` put these together in upstream's order. Rules, selectors and match conditions are those
that admission policies use too. See "Dynamic Admission Control" in the upstream documentation.
"""
