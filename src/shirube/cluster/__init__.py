"""Making clusters on machines: packages, certificates, namespaces, supervision, up, down, status.

On top of every other room: it starts their processes and knows their options, nothing of their insides.
"""
