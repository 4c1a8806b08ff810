"""Devices (dynamic resource allocation): what there is, who has it, and which of it a claim could have."""
